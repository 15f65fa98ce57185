/* nbdkit-vram: how much memory there is
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_MEMINFO_H
#define VRAM_SWAP_MEMINFO_H

#include <stdbool.h>
#include <stdint.h>

/* From /proc/meminfo, in bytes. */
struct meminfo {
  int64_t total;
  int64_t free;
  int64_t available;
  int64_t swap_total;
  int64_t swap_free;
  int64_t swap_cached;  /* in RAM and on a swap at once */
  int64_t commit_limit; /* how much programs may reserve, and have */
  int64_t committed;
  bool strict; /* that limit holds: vm.overcommit_memory is 2 */
};

/* Returns 0, or -1 with a message. */
int meminfo_read (struct meminfo *m);

/* Free memory, in bytes, below which a program must reclaim some before it
 * gets more: the sum of the zones' 'min' in /proc/zoneinfo, without 'boost',
 * and of what each keeps for allocations that need that zone ('protection').
 * Returns false with a message.
 */
bool meminfo_floor (int64_t *bytes);

#endif
