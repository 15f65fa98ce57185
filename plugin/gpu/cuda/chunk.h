/* nbdkit-vram: one allocation of VRAM by CUDA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CHUNK_H
#define VRAM_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/provider.h"
#include "gpu/cuda/context.h"
#include "gpu/vulkan/mapping.h"

struct cuda_chunk {
  struct chunk chunk; /* first */
  CUdeviceptr address;

  /* By cuMemCreate, at an address of its own; else by cuMemAlloc, and nothing
   * else than DMA can reach it.
   */
  bool exportable;
  CUmemGenericAllocationHandle handle;
  int fd; /* that it was imported from, -1: it was made here */

  struct chunk_mapping mapping; /* all zeros: the CPU has none */
};

/* The granularity of exportable chunks, or 0 after log_debug when this driver
 * or this GPU has none.
 */
extern uint64_t chunk_granularity (const struct cuda *cuda);

/* In each of these the calling thread must have entered the context.  CHUNK
 * must be all zeros, and is so again when they fail.  *WHAT is the name of the
 * call that failed.
 */

/* Allocate SIZE bytes, EXPORTABLE or not. */
extern CUresult
chunk_allocate (struct cuda *cuda, struct cuda_chunk *chunk, uint64_t size,
                bool exportable, const char **what);

/* Import FD, which CHUNK owns on success. */
extern CUresult chunk_import (struct cuda *cuda, struct cuda_chunk *chunk,
                              int fd, uint64_t size, const char **what);

/* A new descriptor, close-on-exec, of an exportable chunk; the memory lives
 * for as long as any descriptor of it is open.
 */
extern CUresult chunk_export (const struct cuda_chunk *chunk, int *fd);

/* Free the VRAM, unless the context is lost, and close the descriptor. */
extern void chunk_free (struct cuda *cuda, struct cuda_chunk *chunk);

#endif /* VRAM_CHUNK_H */
