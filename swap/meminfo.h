/* nbdkit-vram: how much memory there is
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_MEMINFO_H
#define VRAM_SWAP_MEMINFO_H

#include <stdint.h>

/* From /proc/meminfo, in bytes. */
struct meminfo {
  int64_t total;
  int64_t free;
  int64_t available;
  int64_t swap_total;
  int64_t swap_free;
};

/* Returns 0, or -1 with a message. */
int meminfo_read (struct meminfo *m);

#endif
