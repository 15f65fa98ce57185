/* nbdkit-vram: the VRAM that the disk occupies, in chunks
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CHUNK_H
#define VRAM_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/superblock.h"
#include "gpu/cuda/context.h"

/* One cuMemCreate allocation. */
struct chunk {
  CUmemGenericAllocationHandle handle;
  int fd;          /* that it was imported from; 0: it was made here */
  uint64_t offset; /* where it stands in the disk */
  uint64_t size;   /* a multiple of 2 MiB */
};

/* All chunks, mapped one behind the other into one range of device addresses.
 * On a driver without virtual memory management the range is one cuMemAlloc,
 * and there are no chunks.
 */
struct chunks {
  struct cuda *cuda;
  CUdeviceptr base;
  uint64_t size;      /* bytes that the disk may use from BASE on */
  uint64_t allocated; /* bytes of VRAM, SIZE rounded up to whole allocations */

  size_t count;
  struct chunk *chunk;

  bool mapped;         /* chunks of cuMemCreate, else one cuMemAlloc */
  uint64_t chunk_size; /* of every chunk but the last */
  uint64_t reserved;   /* bytes of device addresses */
};

/* Allocate SIZE bytes of VRAM (a multiple of 4 KiB), or as much as there is
 * in steps of 512 MiB below that, but not less than MIN, leaving HEADROOM
 * bytes free for others.  The calling thread must have entered the context.
 * Returns 0, or -1 after log_error with nothing allocated.
 */
extern int chunks_allocate (struct chunks *chunks, struct cuda *cuda,
                            uint64_t size, uint64_t min, uint64_t headroom);

/* Have the COUNT chunks whose descriptors are FDS, in order, content and all:
 * of CHUNK_SIZE bytes each but the last, ALLOCATED bytes together, of which the
 * disk uses SIZE.  The descriptors are taken over when that succeeds, and each
 * becomes -1.  As above.
 */
extern int chunks_import (struct chunks *chunks, struct cuda *cuda, int *fds,
                          size_t count, uint64_t chunk_size,
                          uint64_t allocated, uint64_t size);

/* Free all, unless the context is lost. */
extern void chunks_free (struct chunks *chunks);

/* A new file descriptor, close-on-exec, for chunk I: another process, or
 * another API in this one, imports it, and the memory lives for as long as any
 * descriptor of it is open.  Returns -1 with the driver's answer in *ERROR.
 */
extern int
chunk_export (const struct chunks *chunks, size_t i, CUresult *error);

#endif /* VRAM_CHUNK_H */
