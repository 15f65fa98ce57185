/* nbdkit-vram: what a server tells the process that started it (sd_notify)
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_NOTIFY_H
#define VRAM_SWAP_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/sd_notify.h"

#define NOTIFY_FDS_MAX SD_NOTIFY_FDS_MAX

/* One message: lines of NAME=VALUE, and descriptors. */
struct notice {
  char text[4096];
  pid_t sender;
  unsigned n;
  int fds[NOTIFY_FDS_MAX];
};

/* Listens on PATH, for this user and root, and replaces a file of that name.
 * Returns the socket, or -1 with a message.
 */
int notify_listen (const char *path);

/* Takes the next message.  Returns 1, and N descriptors that are the caller's
 * to close, or 0 if no message has come.
 */
int notify_receive (int fd, struct notice *n);

/* The value of NAME, up to the end of its line, into BUF; NULL when there is
 * no such line.
 */
const char *notify_value (const struct notice *n, const char *name, char *buf,
                          size_t size);

#endif
