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

  /* Of cuMemCreate, or of cuMemAlloc, which only DMA can reach. */
  bool exportable;
  CUmemGenericAllocationHandle handle;
  int fd; /* its descriptor if it was imported, else -1 */

  struct chunk_mapping mapping; /* all zeros if not mapped for the CPU */
};

/* The granularity of exportable chunks in bytes, or 0 after log_debug if this
 * driver or GPU cannot export them.
 */
extern uint64_t chunk_granularity (const struct cuda *cuda);

/* For these functions the calling thread must have entered the context.  CHUNK
 * must be all zeros, and is all zeros again after a failure.  *WHAT names the
 * call that failed.
 */

/* Allocate SIZE bytes, EXPORTABLE or not. */
extern CUresult
chunk_allocate (struct cuda *cuda, struct cuda_chunk *chunk, uint64_t size,
                bool exportable, const char **what);

/* Import FD, which CHUNK owns on success. */
extern CUresult chunk_import (struct cuda *cuda, struct cuda_chunk *chunk,
                              int fd, uint64_t size, const char **what);

/* Make a descriptor of an exportable chunk, close-on-exec.  The memory lives
 * while any descriptor of it is open.
 */
extern CUresult chunk_export (const struct cuda_chunk *chunk, int *fd);

/* Free the VRAM, unless the context is lost, and close the descriptor. */
extern void chunk_free (struct cuda *cuda, struct cuda_chunk *chunk);

#endif /* VRAM_CHUNK_H */
