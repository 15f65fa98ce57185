/* nbdkit-vram: how much VRAM the server may hold at this moment
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_LIMIT_H
#define VRAM_SWAP_LIMIT_H

#include <stdint.h>

#include "daemon.h"

/* The request "limit".  What root asks for counts until it asks for something
 * else, and is remembered.  What a client asks to hold counts for as long as
 * it stays connected.  The smallest of all counts.
 */
void limit_request (struct daemon *d, struct client *client,
                    const struct json_t *request);

/* Store what counts now where the server finds it.  Cheap when nothing has
 * changed: the daemon calls it whenever clients or descriptors may have.
 */
void limit_apply (struct daemon *d);

/* What counts now: bytes, INT64_MAX for no limit, or LIMIT_CONFIGURED. */
int64_t limit_now (const struct daemon *d);

#endif
