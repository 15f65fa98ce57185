/* nbdkit-vram: where each part of the disk lies in VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SLOTS_H
#define VRAM_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "disk/provider.h"
#include "disk/superblock.h"

/* The disk is a row of slots of one size, a power of two; each has a chunk.  The
 * last chunk may be smaller.  Constant while requests are served.
 */
struct slots {
  struct provider *provider;
  uint64_t size;      /* bytes of the disk, a multiple of BLOCK_SIZE */
  uint64_t allocated; /* bytes of all chunks */
  unsigned shift;     /* a slot has 1 << SHIFT bytes */
  unsigned count;
  struct chunk *chunk[CHUNKS_MAX];
};

/* Allocate SIZE bytes of VRAM (a multiple of BLOCK_SIZE), or as much as there is
 * in steps of 512 MiB below that, but no less than MIN, leaving HEADROOM bytes
 * free for other programs.  Returns 0, or -1 after log_error with nothing
 * allocated.
 */
extern int slots_allocate (struct slots *slots, struct provider *provider,
                           uint64_t size, uint64_t min, uint64_t headroom);

/* Have the chunks of the disk that SUPERBLOCK describes, content and all, from
 * their descriptors FDS in order.  Each that is taken over becomes -1.  Returns
 * 0, or -1 after log_error.
 */
extern int slots_import (struct slots *slots, struct provider *provider,
                         const struct superblock *superblock, int *fds);

/* Let the CPU map the chunks.  SUPERBLOCK says where they hold data; NULL: they
 * hold none.  Returns 0, or -1 after log_error.
 */
extern int
slots_map (struct slots *slots, const struct superblock *superblock);

/* Overwrite all VRAM with zeros, also what lies beyond the disk's end.  Returns
 * 0, or -1 with errno = EIO after log_error.
 */
extern int slots_zero (struct slots *slots);

/* Free all chunks.  A struct of zeros is allowed. */
extern void slots_free (struct slots *slots);

/* Copy COUNT bytes at OFFSET of the disk, by one call of the provider for each
 * slot.  As the provider's read and write.
 */
extern int slots_read (const struct slots *slots, void *buf, size_t count,
                       uint64_t offset);
extern int slots_write (const struct slots *slots, const void *buf,
                        size_t count, uint64_t offset);

#endif /* VRAM_SLOTS_H */
