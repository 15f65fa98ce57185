/* nbdkit-vram: which users may connect
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PEER_H
#define VRAM_PEER_H

#include <stdbool.h>
#include <stdint.h>

/* Call in nbdkit's load, while stdin is still the client of nbdkit -s. */
extern void peer_load (void);

/* Swap holds everyone's memory: only root and the server's own user may
 * connect, through a Unix socket, or the program that started nbdkit -s.  Call
 * from nbdkit's preconnect.  Returns whether the client may connect; the log
 * says why not.
 */
extern bool peer_allowed (void);

/* Log that a client of UID was refused at NOW_MS (clock_ms).  To keep the log
 * short, the first REFUSED_USERS_MAX users get a line each.  Other refusals
 * are counted and logged together, every REFUSED_AGAIN_MS at most.  Any
 * thread.
 */
#define REFUSED_USERS_MAX 16
#define REFUSED_AGAIN_MS  (UINT64_C (10) * 60 * 1000)
extern void peer_log_refusal (int64_t uid, uint64_t now_ms);

/* Disable core dumps, because other programs' pages pass through this process.
 */
extern void peer_no_core_dumps (void);

#endif /* VRAM_PEER_H */
