/* nbdkit-vram: would what is swapped to VRAM fit elsewhere?
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_CAPACITY_H
#define VRAM_SWAP_CAPACITY_H

#include <stdbool.h>
#include <stdint.h>

#include "meminfo.h"
#include "swaps.h"

/* All in bytes. */
struct capacity {
  int64_t need;       /* swapped to our device */
  int64_t ram;        /* available RAM, less what must stay free */
  int64_t reserve;    /* what must stay free */
  int64_t disk;       /* free space of other swaps that cost no RAM */
  int64_t zram;       /* free space of zram swaps, as it counts: below */
  int64_t overcommit; /* what programs have reserved beyond what strict
                         overcommit lets them without this device, or 0 */
  bool fits;
};

/* Says in BUF what stands in the way, when it does not fit. */
void capacity_explain (const struct capacity *r, const char *device, char *buf,
                       size_t size);

/* The plain arithmetic over what has been read.  ZRAM_RATIO is how many bytes
 * zram stores in one byte of RAM, times 100.
 *
 * zram is paid for with RAM: moving a page there frees the page and takes
 * 1/ratio of it, so that free zram space counts with 1 - 1/ratio, and only as
 * far as RAM goes.
 */
void capacity_compute (struct capacity *r, const struct meminfo *m,
                       const struct swaps *s, const char *device,
                       unsigned zram_ratio);

/* Reads what it needs of the machine, then computes.  SPARE bytes are in use
 * but will be freed.  Returns 0, or -1 with a message.  Allocates nothing.
 */
int capacity_read (struct capacity *r, const char *device, int64_t spare);

/* The sum of ram, disk and zram. */
int64_t capacity_total (const struct capacity *r);

/* How much of what is swapped to our device may come back in one go: the
 * kernel looks whether swapoff has been told to stop only between two
 * processes, and brings back all files in memory (tmpfs, shared memory) before
 * the first.  So this is the largest of these, and at most NEED.  NAME (of at
 * least 32 bytes) becomes that process's name and number.  Allocates nothing.
 */
int64_t capacity_in_one_go (int64_t need, char *name);

/* "7.4 GiB" in a buffer that the next calls reuse in turn (there are eight).
 */
const char *human (int64_t bytes);

#endif
