/* nbdkit-vram: the stand-in driver's copies and fills, as issued and as run
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <stdlib.h>
#include <string.h>

#include "standin.h"

static CUresult
write32 (struct context *ctx, struct work *w)
{
  _Atomic uint32_t *host = host_from_device (w->dev, sizeof *host);

  (void) ctx;
  if (host) {
    /* A thread that sees the value sees all earlier work of the stream. */
    atomic_store_explicit (host, w->value, memory_order_release);
    return CUDA_SUCCESS;
  }
  w->kind = WORK_TO_DEVICE;
  w->host = &w->value;
  w->size = sizeof w->value;
  return copy_execute (ctx, w);
}

CUresult
copy_execute (struct context *ctx, struct work *w)
{
  char *host = w->staged ? w->staged : w->host;
  CUdeviceptr at = w->dev;
  uint64_t left = w->size, offset, n;
  struct physical *p;
  int r;

  if (w->kind == WORK_EVENT)
    return CUDA_SUCCESS;
  if (w->kind == WORK_WRITE32)
    return write32 (ctx, w);

  /* Looked up again, as a GPU does: it may have been unmapped meanwhile. */
  while (left > 0) {
    if (!address_find (at, ctx->dev, w->kind != WORK_TO_HOST, &p, &offset, &n))
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (n > left)
      n = left;
    switch (w->kind) {
    case WORK_TO_DEVICE:
      r = vram_file_write (physical_file (p), host, n, offset);
      break;
    case WORK_TO_HOST:
      r = vram_file_read (physical_file (p), host, n, offset);
      break;
    default:
      r = vram_file_set (physical_file (p), (unsigned char) w->value, n,
                         offset);
    }
    if (w->kind != WORK_TO_HOST)
      physical_written (p);
    physical_unref (p);
    if (r == -1)
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (host)
      host += n;
    at += n;
    left -= n;
  }
  return CUDA_SUCCESS;
}

/* What all copies begin with.  Sets *S; a NULL stream is allowed only if the
 * caller gave one.
 */
static CUresult
begin (enum function fn, CUstream stream, CUdeviceptr dev, const void *host,
       size_t size, bool write, struct context **ctx, struct stream **s)
{
  CUresult r = enter (fn, ctx);

  if (r)
    return r;
  *s = stream_get (*ctx, stream);
  if (!*s)
    return CUDA_ERROR_INVALID_HANDLE;
  if (size == 0)
    return CUDA_SUCCESS;
  if (!host || address_is_device ((uint64_t) (uintptr_t) host) ||
      !address_check (dev, size, (*ctx)->dev, write))
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

static struct work *
make (enum work_kind kind, CUdeviceptr dev, void *host, size_t size)
{
  struct work *w = calloc (1, sizeof *w);

  if (!w)
    return NULL;
  w->kind = kind;
  w->dev = dev;
  w->host = host;
  w->size = size;
  if (kind == WORK_TO_DEVICE || kind == WORK_TO_HOST)
    w->number = fault_number_copy ();
  return w;
}

static struct work *
make_staged (CUdeviceptr dev, const void *src, size_t size)
{
  struct work *w = make (WORK_TO_DEVICE, dev, NULL, size);

  if (!w)
    return NULL;
  w->staged = malloc (size);
  if (!w->staged) {
    free (w);
    return NULL;
  }
  memcpy (w->staged, src, size);
  return w;
}

EXPORT CUresult
cuMemcpyHtoD_v2 (CUdeviceptr dst, const void *src, size_t size)
{
  struct context *ctx;
  struct stream *s;
  CUresult r =
      begin (FN_cuMemcpyHtoD_v2, NULL, dst, src, size, true, &ctx, &s);

  if (r || size == 0)
    return r;
  if (size <= PAGEABLE_EARLY && !host_is_pinned (src, size))
    return stream_issue (ctx, s, make_staged (dst, src, size), false);
  return stream_issue (
      ctx, s, make (WORK_TO_DEVICE, dst, (void *) (uintptr_t) src, size),
      true);
}

EXPORT CUresult
cuMemcpyDtoH_v2 (void *dst, CUdeviceptr src, size_t size)
{
  struct context *ctx;
  struct stream *s;
  CUresult r =
      begin (FN_cuMemcpyDtoH_v2, NULL, src, dst, size, false, &ctx, &s);

  if (r || size == 0)
    return r;
  return stream_issue (ctx, s, make (WORK_TO_HOST, src, dst, size), true);
}

EXPORT CUresult
cuMemcpyHtoDAsync_v2 (CUdeviceptr dst, const void *src, size_t size,
                      CUstream stream)
{
  struct context *ctx;
  struct stream *s;
  CUresult r =
      begin (FN_cuMemcpyHtoDAsync_v2, stream, dst, src, size, true, &ctx, &s);
  bool pinned;

  if (r || size == 0)
    return r;
  pinned = host_is_pinned (src, size);
  if (!pinned && size <= PAGEABLE_EARLY)
    return stream_issue (ctx, s, make_staged (dst, src, size), false);
  return stream_issue (
      ctx, s, make (WORK_TO_DEVICE, dst, (void *) (uintptr_t) src, size),
      !pinned);
}

EXPORT CUresult
cuMemcpyDtoHAsync_v2 (void *dst, CUdeviceptr src, size_t size, CUstream stream)
{
  struct context *ctx;
  struct stream *s;
  CUresult r =
      begin (FN_cuMemcpyDtoHAsync_v2, stream, src, dst, size, false, &ctx, &s);

  if (r || size == 0)
    return r;
  return stream_issue (ctx, s, make (WORK_TO_HOST, src, dst, size),
                       !host_is_pinned (dst, size));
}

static CUresult
set (enum function fn, CUdeviceptr dst, unsigned char value, size_t size,
     CUstream stream)
{
  struct context *ctx;
  struct stream *s;
  struct work *w;
  /* There is no host side.  Any pointer but NULL will do. */
  CUresult r = begin (fn, stream, dst, "", size, true, &ctx, &s);

  if (r || size == 0)
    return r;
  w = make (WORK_SET, dst, NULL, size);
  if (w)
    w->value = value;
  return stream_issue (ctx, s, w, false);
}

/* Returns before VRAM is set, as documented for VRAM: only fills of pinned
 * host memory are synchronous.
 */
EXPORT CUresult
cuMemsetD8_v2 (CUdeviceptr dst, unsigned char value, size_t size)
{
  return set (FN_cuMemsetD8_v2, dst, value, size, NULL);
}

EXPORT CUresult
cuMemsetD8Async (CUdeviceptr dst, unsigned char value, size_t size,
                 CUstream stream)
{
  return set (FN_cuMemsetD8Async, dst, value, size, stream);
}

EXPORT CUresult
cuStreamWriteValue32_v2 (CUstream stream, CUdeviceptr addr, uint32_t value,
                         unsigned int flags)
{
  struct context *ctx;
  CUresult r = enter (FN_cuStreamWriteValue32_v2, &ctx);
  struct stream *s;
  struct work *w;

  if (r)
    return r;
  if (config.no_memops)
    return CUDA_ERROR_NOT_SUPPORTED;
  s = stream_get (ctx, stream);
  if (!s)
    return CUDA_ERROR_INVALID_HANDLE;
  if ((flags & ~(unsigned int) CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER) ||
      addr % sizeof value != 0 ||
      (!host_from_device (addr, sizeof value) &&
       !address_check (addr, sizeof value, ctx->dev, true)))
    return CUDA_ERROR_INVALID_VALUE;
  w = make (WORK_WRITE32, addr, NULL, sizeof value);
  if (w)
    w->value = value;
  return stream_issue (ctx, s, w, false);
}
