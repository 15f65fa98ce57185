/* nbdkit-vram: the order in which a disk's slots are filled
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SPREAD_H
#define VRAM_SPREAD_H

#include <stdint.h>

#include "common/units.h"

/* Linux fills a swap area on a device without seeks in clusters of 2 MiB that
 * are 64 MiB apart: first every 32nd cluster of the area, then their
 * neighbours, and so on (mm/swapfile.c, SWAP_CLUSTER_COLS, since Linux 4.12).
 * A little swap would therefore touch each slot of an elastic disk.  So an
 * elastic disk numbers units of 2 MiB in the kernel's order, and pages that
 * are swapped out together share slots.
 *
 * The order depends on the disk's size only, and is part of the layout
 * SUPERBLOCK_VERSION_ELASTIC, because the next server must find the same
 * places.
 */
#define SPREAD_UNIT    (2 * MiB)
#define SPREAD_COLUMNS 32

struct spread {
  uint64_t rows; /* 0: places are offsets */
};

/* For an elastic disk of SIZE bytes. */
static inline struct spread
spread_of (uint64_t size)
{
  return (struct spread){ .rows = size / (SPREAD_UNIT * SPREAD_COLUMNS) };
}

/* The place of OFFSET.  Bytes beyond the last row are not moved. */
static inline uint64_t
spread_place (struct spread spread, uint64_t offset)
{
  const uint64_t unit = offset / SPREAD_UNIT;

  if (unit >= spread.rows * SPREAD_COLUMNS)
    return offset;
  return (unit % SPREAD_COLUMNS * spread.rows + unit / SPREAD_COLUMNS) *
             SPREAD_UNIT +
         offset % SPREAD_UNIT;
}

/* How many of COUNT bytes at OFFSET have adjacent places. */
static inline uint64_t
spread_run (struct spread spread, uint64_t offset, uint64_t count)
{
  const uint64_t left = SPREAD_UNIT - offset % SPREAD_UNIT;

  return spread.rows > 1 && left < count ? left : count;
}

#endif /* VRAM_SPREAD_H */
