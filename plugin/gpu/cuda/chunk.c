/* nbdkit-vram: one allocation of VRAM by CUDA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "gpu/cuda/chunk.h"
#include "watchdog.h"

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

uint64_t
chunk_granularity (const struct cuda *cuda)
{
  CUmemAllocationProp prop = properties (cuda);
  size_t granularity;

  if (!libcuda.mem_get_allocation_granularity || !libcuda.mem_create ||
      !libcuda.mem_release || !libcuda.mem_address_reserve ||
      !libcuda.mem_address_free || !libcuda.mem_map || !libcuda.mem_unmap ||
      !libcuda.mem_set_access || !libcuda.mem_export || !libcuda.mem_import) {
    log_debug ("VRAM cannot be exported: the driver has no virtual memory "
               "management");
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
    log_debug ("VRAM cannot be exported: the GPU has no virtual memory "
               "management with exportable memory");
    return 0;
  }
  return granularity > GRANULARITY ? granularity : GRANULARITY;
}

/* Map CHUNK, whose handle is set, to an address. */
static CUresult
map (struct cuda *cuda, struct cuda_chunk *chunk, const char **what)
{
  const CUmemAccessDesc access = {
    .location = { .type = CU_MEM_LOCATION_TYPE_DEVICE, .id = cuda->device },
    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
  };
  const uint64_t size = chunk->chunk.size;
  CUresult r;

  *what = "cuMemAddressReserve";
  r = libcuda.mem_address_reserve (&chunk->address, size, 0, 0, 0);
  if (r != CUDA_SUCCESS)
    return r;
  *what = "cuMemMap";
  r = libcuda.mem_map (chunk->address, size, 0, chunk->handle, 0);
  if (r != CUDA_SUCCESS)
    goto err_address;
  *what = "cuMemSetAccess";
  r = libcuda.mem_set_access (chunk->address, size, &access, 1);
  if (r == CUDA_SUCCESS)
    return r;
  libcuda.mem_unmap (chunk->address, size);
err_address:
  libcuda.mem_address_free (chunk->address, size);
  return r;
}

/* Map CHUNK if R, the result of making its handle, is success.  Clean up after
 * failure.
 */
static CUresult
finish (struct cuda *cuda, struct cuda_chunk *chunk, CUresult r,
        const char **what)
{
  if (r == CUDA_SUCCESS) {
    r = map (cuda, chunk, what);
    if (r != CUDA_SUCCESS)
      libcuda.mem_release (chunk->handle);
  }
  if (r != CUDA_SUCCESS)
    memset (chunk, 0, sizeof *chunk);
  return r;
}

CUresult
chunk_allocate (struct cuda *cuda, struct cuda_chunk *chunk, uint64_t size,
                bool exportable, const char **what)
{
  CUmemAllocationProp prop = properties (cuda);
  CUresult r;

  watchdog_enter ();
  chunk->chunk.size = size;
  chunk->exportable = exportable;
  chunk->fd = -1;
  if (exportable) {
    *what = "cuMemCreate";
    r = libcuda.mem_create (&chunk->handle, size, &prop, 0);
    return finish (cuda, chunk, r, what);
  }
  *what = "cuMemAlloc";
  r = libcuda.mem_alloc (&chunk->address, size);
  if (r != CUDA_SUCCESS)
    memset (chunk, 0, sizeof *chunk);
  return r;
}

CUresult
chunk_import (struct cuda *cuda, struct cuda_chunk *chunk, int fd,
              uint64_t size, const char **what)
{
  CUresult r;

  watchdog_enter ();
  chunk->chunk.size = size;
  chunk->exportable = true;
  chunk->fd = fd;
  *what = "cuMemImportFromShareableHandle";
  r = libcuda.mem_import (&chunk->handle, (void *) (intptr_t) fd,
                          CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  return finish (cuda, chunk, r, what);
}

CUresult
chunk_export (const struct cuda_chunk *chunk, int *fd)
{
  CUresult r;

  /* The driver may refuse to export an imported chunk again. */
  if (chunk->fd != -1) {
    *fd = fcntl (chunk->fd, F_DUPFD_CLOEXEC, 3);
    return *fd == -1 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
  }
  watchdog_enter ();
  r = libcuda.mem_export (fd, chunk->handle,
                          CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  if (r == CUDA_SUCCESS)
    fcntl (*fd, F_SETFD, FD_CLOEXEC);
  return r;
}

void
chunk_free (struct cuda *cuda, struct cuda_chunk *chunk)
{
  CUresult r;

  if (chunk->fd != -1)
    close (chunk->fd);
  if (cuda_is_lost (cuda))
    return;
  watchdog_enter ();
  if (chunk->exportable) {
    r = libcuda.mem_unmap (chunk->address, chunk->chunk.size);
    if (r == CUDA_SUCCESS)
      r = libcuda.mem_release (chunk->handle);
    if (r == CUDA_SUCCESS)
      r = libcuda.mem_address_free (chunk->address, chunk->chunk.size);
  }
  else
    r = libcuda.mem_free (chunk->address);
  if (r != CUDA_SUCCESS)
    log_debug ("cannot free a chunk of VRAM: " CUDA_WORDS,
               CUDA_WORDS_ARGS (r));
}
