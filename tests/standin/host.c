/* nbdkit-vram: the stand-in driver's pinned host memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "standin.h"

/* Added to a buffer's address where the GPU's address differs from the CPU's.
 * The sum is no valid CPU address.
 */
#define ALIAS 0x0004000000000000ULL

struct buffer {
  char *start;
  size_t size;
  size_t rounded; /* to pages; a guard page lies on each side */
  bool alias;
  int dev;
  struct buffer *next;
};

static struct buffer *buffers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

bool
host_is_pinned (const void *p, size_t size)
{
  const uintptr_t a = (uintptr_t) p;
  struct buffer *b;

  pthread_mutex_lock (&lock);
  for (b = buffers; b; b = b->next) {
    uintptr_t start = (uintptr_t) b->start;

    if (a >= start && a - start <= b->size && size <= b->size - (a - start))
      break;
  }
  pthread_mutex_unlock (&lock);
  return b != NULL;
}

void *
host_from_device (CUdeviceptr addr, size_t size)
{
  struct buffer *b;
  void *found = NULL;

  pthread_mutex_lock (&lock);
  for (b = buffers; b && !found; b = b->next) {
    CUdeviceptr start = (uintptr_t) b->start + (b->alias ? ALIAS : 0);

    if (addr >= start && addr - start <= b->size &&
        size <= b->size - (addr - start))
      found = b->start + (addr - start);
  }
  pthread_mutex_unlock (&lock);
  return found;
}

static void
buffer_free (struct buffer *b)
{
  size_t page = (size_t) sysconf (_SC_PAGESIZE);

  munmap (b->start - page, b->rounded + 2 * page);
  report_resource (RES_PINNED, -1, -(int64_t) b->size);
  free (b);
}

void
host_free_all (int dev)
{
  struct buffer **p, *b;

  pthread_mutex_lock (&lock);
  for (p = &buffers; (b = *p) != NULL;) {
    if (b->dev == dev) {
      *p = b->next;
      buffer_free (b);
    }
    else
      p = &b->next;
  }
  pthread_mutex_unlock (&lock);
}

EXPORT CUresult
cuMemHostAlloc (void **ptr, size_t size, unsigned int flags)
{
  struct context *ctx;
  CUresult r = enter (FN_cuMemHostAlloc, &ctx);
  size_t page = (size_t) sysconf (_SC_PAGESIZE);
  struct buffer *b;
  char *m;

  if (r)
    return r;
  if (!ptr || size == 0 || size > SIZE_MAX - 3 * page ||
      (flags &
       ~(unsigned int) (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP |
                        CU_MEMHOSTALLOC_WRITECOMBINED)))
    return CUDA_ERROR_INVALID_VALUE;
  b = calloc (1, sizeof *b);
  if (!b)
    return CUDA_ERROR_OUT_OF_MEMORY;
  b->size = size;
  b->rounded = (size + page - 1) & ~(page - 1);
  m = mmap (NULL, b->rounded + 2 * page, PROT_NONE,
            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED)
    goto err;
  b->start = m + page;
  if (mprotect (b->start, b->rounded, PROT_READ | PROT_WRITE) == -1)
    goto err_unmap;
  memset (b->start, 0xa7, b->rounded);
  b->dev = ctx->dev;
  b->alias = config.devptr_differs || (flags & CU_MEMHOSTALLOC_WRITECOMBINED);
  pthread_mutex_lock (&lock);
  b->next = buffers;
  buffers = b;
  pthread_mutex_unlock (&lock);
  report_resource (RES_PINNED, 1, (int64_t) size);
  *ptr = b->start;
  return CUDA_SUCCESS;

err_unmap:
  munmap (m, b->rounded + 2 * page);
err:
  free (b);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

EXPORT CUresult
cuMemFreeHost (void *ptr)
{
  struct context *ctx;
  CUresult r = enter (FN_cuMemFreeHost, &ctx);
  struct buffer **p, *b;

  if (r)
    return r;
  if (!ptr)
    return CUDA_ERROR_INVALID_VALUE;
  r = stream_wait_all (ctx);
  if (r)
    return r;
  pthread_mutex_lock (&lock);
  for (p = &buffers; (b = *p) != NULL; p = &b->next)
    if (b->start == ptr) {
      *p = b->next;
      buffer_free (b);
      break;
    }
  pthread_mutex_unlock (&lock);
  return b ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult
cuMemHostGetDevicePointer_v2 (CUdeviceptr *dptr, void *ptr, unsigned int flags)
{
  struct context *ctx;
  CUresult r = enter (FN_cuMemHostGetDevicePointer_v2, &ctx);
  struct buffer *b;
  char *p = ptr;

  if (r)
    return r;
  if (!dptr || flags)
    return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock (&lock);
  for (b = buffers; b; b = b->next)
    if (p >= b->start && p < b->start + b->size) {
      *dptr = (uintptr_t) p + (b->alias ? ALIAS : 0);
      break;
    }
  pthread_mutex_unlock (&lock);
  return b ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
