/* nbdkit-vram: how often the server had gone, and for how long
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_OUTAGE_H
#define VRAM_SWAP_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "swaps.h"

/* Since swap went on; kept in /run/vram-swap.outages by 'vram-swap reconnect'.
 */
struct outages {
  int64_t count;
  int64_t last_ms, longest_ms; /* from the loss to the new connections */
  int64_t last_at;             /* ms of CLOCK_BOOTTIME when it was over */
  char disk[SWAP_ID + 1];      /* the swap's on the device, "" if not known */
};

/* False when nothing is known. */
bool outages_read (struct outages *o);

/* Failing to is a warning. */
void outages_write (const struct outages *o);

#endif
