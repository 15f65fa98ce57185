/* nbdkit-vram: where each part of the disk lies in VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SLOTS_H
#define VRAM_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/blockmap.h"
#include "disk/elastic.h"
#include "disk/provider.h"
#include "disk/superblock.h"

/* The disk is a row of slots of one size, a power of two.  Slot I has chunk I,
 * and the last chunk may be smaller.  Nothing changes while requests are
 * served.  On an elastic disk all chunks have one size, come and go, and
 * belong to the slots whose words name them.
 */
struct slots {
  struct provider *provider;
  uint64_t size;      /* bytes of the disk, a multiple of BLOCK_SIZE */
  uint64_t allocated; /* bytes of all chunks, elastic: of all slots */
  unsigned shift;     /* a slot has 1 << SHIFT bytes */
  unsigned count;     /* number of slots, and the most chunks */
  struct chunk *chunk[CHUNKS_MAX]; /* elastic: NULL for those not allocated */
  struct elastic *elastic;         /* NULL: the disk is not elastic */
};

/* Allocate SIZE bytes of VRAM, a multiple of BLOCK_SIZE.  If less is free,
 * allocate less, in steps of 512 MiB down to MIN.  HEADROOM bytes stay free
 * for other programs.  Returns 0, or -1 after log_error with nothing
 * allocated.
 */
extern int slots_allocate (struct slots *slots, struct provider *provider,
                           uint64_t size, uint64_t min, uint64_t headroom);

/* The same for an elastic disk.  Only the chunks of the reserve are allocated,
 * and still have to be mapped and zeroed.  A write waits up to TIMEOUT_MS for
 * a chunk.
 */
extern int slots_begin_elastic (struct slots *slots, struct provider *provider,
                                uint64_t size, uint64_t min, uint64_t headroom,
                                unsigned timeout_ms);

/* Put all chunks into the reserve of a new elastic disk.  They must be zeroed.
 */
extern void slots_fill_reserve (struct slots *slots);

/* Import the chunks of the disk that SUPERBLOCK describes, with their
 * content.  FDS are their descriptors in order, -1 for chunks that an elastic
 * disk does not have.  A descriptor that is taken over becomes -1. TIMEOUT_MS
 * as above.  Returns 0, or -1 after log_error.
 */
extern int slots_import (struct slots *slots, struct provider *provider,
                         const struct superblock *superblock, int *fds,
                         unsigned timeout_ms);

/* Map the chunks for the CPU, if possible.  SUPERBLOCK says where they hold
 * data; NULL: they hold none.  Returns 0, or -1 after log_error.
 */
extern int
slots_map (struct slots *slots, const struct superblock *superblock);

/* Overwrite all VRAM, also beyond the disk's end, or one chunk with zeros.
 * Return 0, or -1 with errno = EIO after log_error.
 */
extern int slots_zero (struct slots *slots);
extern int slots_zero_chunk (struct slots *slots, unsigned number);

/* Whether MAP says that a block of SLOT holds data. */
extern bool slots_have_data (const struct slots *slots,
                             const struct blockmap *map, unsigned slot);

/* The slot whose word names the chunk NUMBER, or -1. */
extern int slots_of_chunk (const struct slots *slots, unsigned number);

/* Free all chunks.  SLOTS may be all zeros. */
extern void slots_free (struct slots *slots);

/* How many chunks the reserve of an elastic disk has at rest.  One large chunk
 * is enough, because the next one is ready before it is full.
 */
static inline unsigned
slots_reserve (const struct slots *slots)
{
  return slots->shift < 28 ? 2 : 1;
}

/* How many of COUNT bytes at OFFSET of the disk lie in the slot of OFFSET. */
static inline uint64_t
slots_bytes_in_slot (const struct slots *slots, uint64_t count,
                     uint64_t offset)
{
  const uint64_t size = UINT64_C (1) << slots->shift;
  const uint64_t left = size - (offset & (size - 1));

  return count < left ? count : left;
}

/* Pin the slot at OFFSET for a write, and release it.  Begin before reading
 * the block map, and end after publishing the blocks.  Returns as elastic_pin.
 */
static inline int
slots_begin_write (const struct slots *slots, uint64_t offset)
{
  uint64_t word;

  if (slots->elastic == NULL)
    return 0;
  return elastic_pin (slots->elastic, (unsigned) (offset >> slots->shift),
                      PIN_WRITE, &word);
}

static inline void
slots_end_write (const struct slots *slots, uint64_t offset)
{
  if (slots->elastic)
    elastic_unpin (slots->elastic, (unsigned) (offset >> slots->shift),
                   PIN_WRITE);
}

/* Note that blocks have been trimmed. */
static inline void
slots_trimmed (const struct slots *slots)
{
  if (slots->elastic)
    elastic_trim (slots->elastic);
}

/* Copy COUNT bytes at OFFSET of the disk, with one call of the provider for
 * each slot.  On an elastic disk a write must lie in one slot, between
 * slots_begin_write and slots_end_write.  Return as the provider's read and
 * write.
 */
extern int slots_read (const struct slots *slots, void *buf, size_t count,
                       uint64_t offset);
extern int slots_write (const struct slots *slots, const void *buf,
                        size_t count, uint64_t offset);

#endif /* VRAM_SLOTS_H */
