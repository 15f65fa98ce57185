/* nbdkit-vram: starts and stops 'vram-swap reconnect', which waits beside swap
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_WATCHER_H
#define VRAM_SWAP_WATCHER_H

#include "options.h"
#include "state.h"

#define WATCHER_UNIT "vram-swap-reconnect.service"

/* By its unit where systemd runs and knows it, otherwise by ourselves.  Returns
 * 0, or -1 with a message.
 */
int watcher_start (const struct options *o, struct state *st);

/* Nothing to stop is fine. */
void watcher_stop (struct state *st);

#endif
