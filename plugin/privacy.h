/* nbdkit-vram: who may see what the disk holds
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PRIVACY_H
#define VRAM_PRIVACY_H

#include <stdbool.h>

/* Swap holds everyone's memory: only root and the server's own user may
 * connect over a Unix socket.  Call from nbdkit's preconnect.  Over another
 * kind of socket there is no user to ask for; the first such client is worth
 * one warning in the log.  Returns whether the client is welcome, after
 * nbdkit_error when it is not.
 */
extern bool privacy_peer_allowed (void);

/* Keep pages of others, which pass through this process, out of core dumps. */
extern void privacy_no_core_dumps (void);

#endif /* VRAM_PRIVACY_H */
