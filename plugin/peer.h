/* nbdkit-vram: who may see what the disk holds
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PEER_H
#define VRAM_PEER_H

#include <stdbool.h>
#include <stdint.h>

/* Swap holds everyone's memory: only root and the server's own user may
 * connect over a Unix socket.  Call from nbdkit's preconnect.  Over another
 * kind of socket there is no user to ask for; the first such client is worth
 * one warning in the log.  Returns whether the client is welcome, after
 * peer_log_refusal when it is not.
 */
extern bool peer_allowed (void);

/* Tell the log that a client of UID was refused, at NOW_MS of clock_ms, without
 * letting clients fill it: each of the first REFUSED_USERS_MAX users is worth
 * one line, and all who come after that are counted, in one line every
 * REFUSED_AGAIN_MS at most.  Any thread.
 */
#define REFUSED_USERS_MAX 16
#define REFUSED_AGAIN_MS  (UINT64_C (10) * 60 * 1000)
extern void peer_log_refusal (int64_t uid, uint64_t now_ms);

/* Keep pages of others, which pass through this process, out of core dumps. */
extern void peer_no_core_dumps (void);

#endif /* VRAM_PEER_H */
