/* nbdkit-vram: keeps a server running, and its disk while there is none
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_KEEPER_H
#define VRAM_SWAP_KEEPER_H

#include <stddef.h>

/* Runs PROGRAM with ARGV, and adds adopt= where there is a disk already, which
 * may come from systemd.  A server that dies is replaced at once, by one that
 * takes its disk over; see keeper.c.  SOCKET, which the server makes, is
 * removed before.  Returns the exit status for this process.
 */
int
keeper_run (const char *program, const char *const *argv, const char *socket);

#endif
