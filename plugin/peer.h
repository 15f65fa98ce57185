/* nbdkit-vram: which users may connect
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PEER_H
#define VRAM_PEER_H

#include <stdbool.h>
#include <stdint.h>

/* In nbdkit's load, while stdin is still what nbdkit -s serves. */
extern void peer_load (void);

/* Swap holds everyone's memory: only root and the server's own user may
 * connect, through a Unix socket, or the program that started nbdkit -s.  Call
 * from nbdkit's preconnect.  Returns whether the client may connect; the log
 * says why not.
 */
extern bool peer_allowed (void);

/* Log that a client of UID was refused, at NOW_MS of clock_ms, without letting
 * clients fill the log: one line for each of the first REFUSED_USERS_MAX
 * users, and one line with a count of all later clients every REFUSED_AGAIN_MS
 * at most.  Any thread.
 */
#define REFUSED_USERS_MAX 16
#define REFUSED_AGAIN_MS  (UINT64_C (10) * 60 * 1000)
extern void peer_log_refusal (int64_t uid, uint64_t now_ms);

/* Keep other programs' pages, which pass through this process, out of core
 * dumps.
 */
extern void peer_no_core_dumps (void);

#endif /* VRAM_PEER_H */
