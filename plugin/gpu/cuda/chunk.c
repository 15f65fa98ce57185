/* nbdkit-vram: the VRAM that the disk occupies, in chunks
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "gpu/cuda/chunk.h"
#include "size.h"
#include "watchdog.h"

/* The smallest chunk, unless the whole disk is smaller. */
#define CHUNK_MIN (64 * MiB)
/* How much less is tried when VRAM is short. */
#define STEP (512 * MiB)

static CUmemAllocationProp
properties (const struct cuda *cuda)
{
  return (CUmemAllocationProp){
    .type = CU_MEM_ALLOCATION_TYPE_PINNED,
    .requested_handle_types = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
    .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = cuda->device },
  };
}

static bool
has_attribute (const struct cuda *cuda, CUdevice_attribute attribute)
{
  int value = 0;

  return libcuda.device_get_attribute (&value, attribute, cuda->device) ==
             CUDA_SUCCESS &&
         value != 0;
}

/* Whether chunks can be made, exported and mapped; says under debug what is
 * missing, or returns the granularity of chunks.
 */
static uint64_t
chunk_granularity (const struct cuda *cuda)
{
  CUmemAllocationProp prop = properties (cuda);
  size_t granularity;

  if (!libcuda.mem_get_allocation_granularity || !libcuda.mem_create ||
      !libcuda.mem_release || !libcuda.mem_address_reserve ||
      !libcuda.mem_address_free || !libcuda.mem_map || !libcuda.mem_unmap ||
      !libcuda.mem_set_access || !libcuda.mem_export) {
    log_debug ("one allocation instead of chunks: the driver has no virtual "
               "memory management");
    return 0;
  }
  if (!has_attribute (
          cuda, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED) ||
      !has_attribute (
          cuda,
          CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED) ||
      libcuda.mem_get_allocation_granularity (
          &granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) !=
          CUDA_SUCCESS) {
    log_debug ("one allocation instead of chunks: the GPU has no virtual "
               "memory management with exportable memory");
    return 0;
  }
  return granularity > GRANULARITY ? granularity : GRANULARITY;
}

/* Small chunks let VRAM be given back in small pieces; few are easy to hold as
 * descriptors.
 */
static uint64_t
choose_chunk_size (uint64_t size)
{
  uint64_t chunk_size = CHUNK_MIN;

  while ((size + chunk_size - 1) / chunk_size > CHUNKS_MAX)
    chunk_size *= 2;
  return chunk_size;
}

/* Make the next chunk, of SIZE bytes, or import it from FD unless that is 0, and
 * map it behind the others.
 */
static CUresult
add_chunk (struct chunks *chunks, uint64_t size, int fd)
{
  const struct cuda *cuda = chunks->cuda;
  CUmemAllocationProp prop = properties (cuda);
  CUmemAccessDesc access = {
    .location = prop.location,
    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
  };
  struct chunk *chunk = &chunks->chunk[chunks->count];
  CUdeviceptr address;
  CUresult r;

  watchdog_enter ();
  chunk->offset = chunks->count * chunks->chunk_size;
  chunk->size = size;
  address = chunks->base + chunk->offset;
  chunk->fd = fd;
  if (fd > 0)
    r = libcuda.mem_import (&chunk->handle, (void *) (intptr_t) fd,
                            CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  else
    r = libcuda.mem_create (&chunk->handle, size, &prop, 0);
  if (r != CUDA_SUCCESS)
    return r;
  r = libcuda.mem_map (address, size, 0, chunk->handle, 0);
  if (r != CUDA_SUCCESS)
    goto err_handle;
  r = libcuda.mem_set_access (address, size, &access, 1);
  if (r != CUDA_SUCCESS)
    goto err_map;
  chunks->count++;
  return CUDA_SUCCESS;

err_map:
  libcuda.mem_unmap (address, size);
err_handle:
  libcuda.mem_release (chunk->handle);
  return r;
}

static void
remove_last_chunk (struct chunks *chunks)
{
  struct chunk *chunk = &chunks->chunk[--chunks->count];
  CUresult r;

  watchdog_enter ();
  r = libcuda.mem_unmap (chunks->base + chunk->offset, chunk->size);
  if (r == CUDA_SUCCESS)
    r = libcuda.mem_release (chunk->handle);
  if (r != CUDA_SUCCESS)
    log_debug ("cannot free a chunk of VRAM: " CUDA_WORDS,
               CUDA_WORDS_ARGS (r));
}

/* Have exactly SIZE bytes, rounded up to the granularity, keeping the chunks
 * of an earlier try that fit.
 */
static CUresult
resize_mapped (struct chunks *chunks, uint64_t size, uint64_t granularity)
{
  uint64_t whole = size / chunks->chunk_size;
  uint64_t rest = ROUND_UP (size % chunks->chunk_size, granularity);
  CUresult r;

  while (chunks->count > whole ||
         (chunks->count > 0 &&
          chunks->chunk[chunks->count - 1].size != chunks->chunk_size))
    remove_last_chunk (chunks);
  while (chunks->count < whole) {
    r = add_chunk (chunks, chunks->chunk_size, 0);
    if (r != CUDA_SUCCESS)
      return r;
  }
  return rest > 0 ? add_chunk (chunks, rest, 0) : CUDA_SUCCESS;
}

static CUresult
resize_plain (struct chunks *chunks, uint64_t size)
{
  CUresult r = CUDA_SUCCESS;

  if (chunks->base)
    r = libcuda.mem_free (chunks->base);
  chunks->base = 0;
  if (r == CUDA_SUCCESS)
    r = libcuda.mem_alloc (&chunks->base, ROUND_UP (size, GRANULARITY));
  return r;
}

/* The next smaller size to try after SIZE, 0 when none is left. */
static uint64_t
step_down (uint64_t size, uint64_t min)
{
  if (size <= min)
    return 0;
  return size > min + STEP ? size - STEP : min;
}

/* Try SIZE.  Returns 1 when it is there and HEADROOM is free beside it, 0 when
 * VRAM is short, -1 after log_error.
 */
static int
try_size (struct chunks *chunks, uint64_t size, uint64_t granularity,
          uint64_t headroom)
{
  uint64_t bytes_free;
  CUresult r;

  r = chunks->mapped ? resize_mapped (chunks, size, granularity)
                     : resize_plain (chunks, size);
  if (r == CUDA_ERROR_OUT_OF_MEMORY)
    return 0;
  if (r != CUDA_SUCCESS) {
    log_error ("cannot allocate %s of VRAM: " CUDA_WORDS, SIZE_STR (size),
               CUDA_WORDS_ARGS (r));
    return -1;
  }
  if (headroom == 0)
    return 1;
  if (cuda_free_bytes (chunks->cuda, &bytes_free) == -1)
    return -1;
  return bytes_free >= headroom;
}

static int
reserve (struct chunks *chunks, uint64_t size, uint64_t granularity)
{
  CUresult r;

  chunks->reserved = ROUND_UP (size, granularity);
  chunks->chunk = calloc (CHUNKS_MAX, sizeof *chunks->chunk);
  if (chunks->chunk == NULL) {
    log_error ("calloc: %m");
    return -1;
  }
  r = libcuda.mem_address_reserve (&chunks->base, chunks->reserved, 0, 0, 0);
  if (r != CUDA_SUCCESS) {
    chunks->base = 0;
    log_error ("cannot reserve %s of device addresses: " CUDA_WORDS,
               SIZE_STR (chunks->reserved), CUDA_WORDS_ARGS (r));
    return -1;
  }
  return 0;
}

int
chunks_allocate (struct chunks *chunks, struct cuda *cuda, uint64_t size,
                 uint64_t min, uint64_t headroom)
{
  uint64_t granularity = chunk_granularity (cuda), bytes_free;
  int r;

  memset (chunks, 0, sizeof *chunks);
  chunks->cuda = cuda;
  chunks->mapped = granularity != 0;
  chunks->chunk_size = choose_chunk_size (size);
  if (chunks->mapped && reserve (chunks, size, granularity) == -1)
    goto err;

  for (uint64_t try = size; try > 0; try = step_down (try, min)) {
    r = try_size (chunks, try, granularity, headroom);
    if (r == -1)
      goto err;
    if (r == 1) {
      chunks->size = try;
      chunks->allocated =
          ROUND_UP (try, chunks->mapped ? granularity : GRANULARITY);
      return 0;
    }
    log_debug ("no %s of VRAM to be had, trying less", SIZE_STR (try));
  }

  chunks_free (chunks);
  if (cuda_free_bytes (cuda, &bytes_free) == 0)
    log_error ("VRAM is short: %s are free, headroom=%s are to stay free, "
               "and min-size=%s is the least to serve; stop what uses the "
               "GPU (nvidia-smi lists it) or ask for less",
               SIZE_STR (bytes_free), SIZE_STR (headroom), SIZE_STR (min));
  return -1;

err:
  chunks_free (chunks);
  return -1;
}

int
chunks_import (struct chunks *chunks, struct cuda *cuda, int *fds,
               size_t count, uint64_t chunk_size, uint64_t allocated,
               uint64_t size)
{
  uint64_t granularity = chunk_granularity (cuda), rest;
  CUresult r;

  memset (chunks, 0, sizeof *chunks);
  chunks->cuda = cuda;
  chunks->mapped = true;
  chunks->chunk_size = chunk_size;
  chunks->allocated = allocated;
  chunks->size = size;
  if (granularity == 0 || !libcuda.mem_import) {
    log_error ("adopt: the driver has no memory that servers can pass on");
    return -1;
  }
  if (reserve (chunks, allocated, granularity) == -1)
    goto err;
  while (chunks->count < count) {
    rest = allocated - chunks->count * chunk_size;
    r = add_chunk (chunks, rest < chunk_size ? rest : chunk_size,
                   fds[chunks->count]);
    if (r != CUDA_SUCCESS) {
      log_error ("adopt: the disk cannot be taken over: chunk %zu of %zu is "
                 "not to be had: " CUDA_WORDS,
                 chunks->count, count, CUDA_WORDS_ARGS (r));
      goto err;
    }
  }
  for (size_t i = 0; i < count; ++i)
    fds[i] = -1;
  return 0;

err:
  /* The descriptors are still the caller's. */
  for (size_t i = 0; chunks->chunk && i < chunks->count; ++i)
    chunks->chunk[i].fd = 0;
  chunks_free (chunks);
  return -1;
}

void
chunks_free (struct chunks *chunks)
{
  /* Without the list there is nothing in it: reserve did not get that far. */
  if (chunks->chunk == NULL)
    chunks->count = 0;
  for (size_t i = 0; i < chunks->count; ++i)
    if (chunks->chunk[i].fd > 0)
      close (chunks->chunk[i].fd);
  if (chunks->cuda && !cuda_is_lost (chunks->cuda)) {
    while (chunks->count > 0)
      remove_last_chunk (chunks);
    if (chunks->mapped && chunks->base)
      libcuda.mem_address_free (chunks->base, chunks->reserved);
    else if (chunks->base)
      libcuda.mem_free (chunks->base);
  }
  free (chunks->chunk);
  memset (chunks, 0, sizeof *chunks);
}

int
chunk_export (const struct chunks *chunks, size_t i, CUresult *error)
{
  int fd = -1;

  /* The driver need not export again what it has imported. */
  if (chunks->chunk[i].fd > 0) {
    fd = fcntl (chunks->chunk[i].fd, F_DUPFD_CLOEXEC, 3);
    *error = fd == -1 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
    return fd;
  }
  *error = libcuda.mem_export (&fd, chunks->chunk[i].handle,
                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  if (*error != CUDA_SUCCESS)
    return -1;
  fcntl (fd, F_SETFD, FD_CLOEXEC);
  return fd;
}
