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
 * and the last chunk may be smaller; all is constant while requests are
 * served. On an elastic disk all chunks are of one size, come and go, and
 * belong to the slots whose words name them.
 */
struct slots {
  struct provider *provider;
  uint64_t size;      /* bytes of the disk, a multiple of BLOCK_SIZE */
  uint64_t allocated; /* bytes of all chunks, or of all that there can be */
  unsigned shift;     /* a slot has 1 << SHIFT bytes */
  unsigned count;     /* slots, and the most chunks */
  struct chunk *chunk[CHUNKS_MAX]; /* NULL: there is none of that number */
  struct elastic *elastic;         /* NULL: the disk is not elastic */
};

/* Allocate SIZE bytes of VRAM (a multiple of BLOCK_SIZE), or as much as there
 * is in steps of 512 MiB below that, but no less than MIN, leaving HEADROOM
 * bytes free for other programs.  Returns 0, or -1 after log_error with
 * nothing allocated.
 */
extern int slots_allocate (struct slots *slots, struct provider *provider,
                           uint64_t size, uint64_t min, uint64_t headroom);

/* The same for an elastic disk, of which only the reserve is allocated, as
 * chunks that are yet to be mapped and zeroed.  A write that needs a chunk
 * waits for up to TIMEOUT_MS.
 */
extern int slots_begin_elastic (struct slots *slots, struct provider *provider,
                                uint64_t size, uint64_t min, uint64_t headroom,
                                unsigned timeout_ms);

/* The chunks that no slot names are zeroed: they make the reserve. */
extern void slots_fill_reserve (struct slots *slots);

/* Have the chunks of the disk that SUPERBLOCK describes, content and all, from
 * their descriptors FDS in order; on an elastic disk, -1 for those that it has
 * not.  Each that is taken over becomes -1.  TIMEOUT_MS as above.  Returns 0,
 * or -1 after log_error.
 */
extern int slots_import (struct slots *slots, struct provider *provider,
                         const struct superblock *superblock, int *fds,
                         unsigned timeout_ms);

/* Let the CPU map the chunks.  SUPERBLOCK says where they hold data; NULL:
 * they hold none.  Returns 0, or -1 after log_error.
 */
extern int
slots_map (struct slots *slots, const struct superblock *superblock);

/* Overwrite all VRAM with zeros, also what lies beyond the disk's end; or one
 * chunk.  Return 0, or -1 with errno = EIO after log_error.
 */
extern int slots_zero (struct slots *slots);
extern int slots_zero_chunk (struct slots *slots, unsigned number);

/* Whether MAP says that a block of SLOT holds data. */
extern bool slots_have_data (const struct slots *slots,
                             const struct blockmap *map, unsigned slot);

/* The slot whose word names the chunk NUMBER, -1: none does. */
extern int slots_of_chunk (const struct slots *slots, unsigned number);

/* Free all chunks.  A struct of zeros is allowed. */
extern void slots_free (struct slots *slots);

/* How many chunks the reserve of an elastic disk has at rest: one that is
 * large is made again before it is full.
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

/* Around a write to the slot of OFFSET, from before it is decided what to
 * write until the blocks are published.  As elastic_pin.
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

/* Blocks have lost their data. */
static inline void
slots_trimmed (const struct slots *slots)
{
  if (slots->elastic)
    elastic_trim (slots->elastic);
}

/* Copy COUNT bytes at OFFSET of the disk, by one call of the provider for each
 * slot.  On an elastic disk, a write must lie in one slot, between
 * slots_begin_write and slots_end_write.  As the provider's read and write.
 */
extern int slots_read (const struct slots *slots, void *buf, size_t count,
                       uint64_t offset);
extern int slots_write (const struct slots *slots, const void *buf,
                        size_t count, uint64_t offset);

#endif /* VRAM_SLOTS_H */
