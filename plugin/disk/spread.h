/* nbdkit-vram: the order in which a disk's slots are filled
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SPREAD_H
#define VRAM_SPREAD_H

#include <stdint.h>

#include "common/units.h"

/* Linux fills a swap area of a device without seeks in clusters of 2 MiB, and
 * takes them 64 MiB apart: first each 32nd of them from the start of the area
 * to its end, then their neighbours, and so on (mm/swapfile.c,
 * SWAP_CLUSTER_COLS, since Linux 4.12).  A few pages of swap would touch each
 * slot of an elastic disk.  So such a disk numbers the 2 MiB units in that
 * order: what is swapped out one after the other shares slots.
 *
 * The next server must find the same places.  They depend on the disk's size
 * alone, and belong to the layout SUPERBLOCK_VERSION_ELASTIC.
 */
#define SPREAD_UNIT    (2 * MiB)
#define SPREAD_COLUMNS 32

struct spread {
  uint64_t rows; /* 0: each byte has its own offset for its place */
};

/* For an elastic disk of SIZE bytes. */
static inline struct spread
spread_of (uint64_t size)
{
  return (struct spread){ .rows = size / (SPREAD_UNIT * SPREAD_COLUMNS) };
}

/* The place of OFFSET.  What is left beyond the last row keeps its own. */
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

/* How many of COUNT bytes at OFFSET have their places in a row. */
static inline uint64_t
spread_run (struct spread spread, uint64_t offset, uint64_t count)
{
  const uint64_t left = SPREAD_UNIT - offset % SPREAD_UNIT;

  return spread.rows > 1 && left < count ? left : count;
}

#endif /* VRAM_SPREAD_H */
