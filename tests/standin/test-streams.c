/* nbdkit-vram: tests that work on the stand-in driver's streams is
 * asynchronous
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

static void
test_round_trip (void)
{
  const size_t size = 3 * MIB;
  unsigned char *a, *b;
  CUdeviceptr p;
  size_t i;

  start ();
  a = malloc (size);
  b = malloc (size);
  CHECK (a && b);
  for (i = 0; i < size; i++)
    a[i] = (unsigned char) (i * 31 + i / 4096);
  OK (cu.cuMemAlloc_v2 (&p, size));
  OK (cu.cuMemcpyHtoD_v2 (p, a, size));
  OK (cu.cuMemcpyDtoH_v2 (b, p, size));
  CHECK (memcmp (a, b, size) == 0);
  /* Unaligned, over granules. */
  OK (cu.cuMemsetD8_v2 (p + 65000, 0, 140001));
  OK (cu.cuMemcpyDtoH_v2 (b, p, size));
  memset (a + 65000, 0, 140001);
  CHECK (memcmp (a, b, size) == 0);
  OK (cu.cuMemsetD8_v2 (p + 1, 0x77, 100001));
  OK (cu.cuMemcpyDtoH_v2 (b, p, size));
  memset (a + 1, 0x77, 100001);
  CHECK (memcmp (a, b, size) == 0);
  /* One byte too far. */
  GIVES (cu.cuMemcpyHtoD_v2 (p + 1, a, size), CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemcpyDtoH_v2 (a, p + 1, size), CUDA_ERROR_INVALID_VALUE);
  OK (cu.cuMemFree_v2 (p));
  GIVES (cu.cuMemFree_v2 (p), CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemcpyHtoD_v2 (p, a, 1), CUDA_ERROR_INVALID_VALUE);
  free (a);
  free (b);
}

static void
test_fresh_is_garbage (void)
{
  static unsigned char buf[MIB];
  CUdeviceptr p;

  start ();
  OK (cu.cuMemAlloc_v2 (&p, sizeof buf));
  OK (cu.cuMemcpyDtoH_v2 (buf, p, sizeof buf));
  CHECK (memchr (buf, 0, sizeof buf) == NULL);
  /* New memory has content that was freed before. */
  memset (buf, 0x5e, sizeof buf);
  OK (cu.cuMemcpyHtoD_v2 (p, buf, sizeof buf));
  OK (cu.cuMemFree_v2 (p));
  OK (cu.cuMemAlloc_v2 (&p, sizeof buf));
  OK (cu.cuMemcpyDtoH_v2 (buf, p, 4096));
  CHECK (all (buf, 4096, 0x5e));
}

static void
test_use_before_sync (void)
{
  unsigned char *pinned;
  CUdeviceptr p;
  CUstream s;

  env ("DELAY", "500000-500000");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 8192, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));

  /* A source that is reused too early gives wrong data. */
  memset (pinned, 1, 4096);
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, s));
  GIVES (cu.cuStreamQuery (s), CUDA_ERROR_NOT_READY);
  memset (pinned, 2, 4096);
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned + 4096, p, 4096, s));
  CHECK (!all (pinned + 4096, 4096, 2));
  OK (cu.cuStreamSynchronize (s));
  OK (cu.cuStreamQuery (s));
  CHECK (all (pinned + 4096, 4096, 2));

  /* A source that is kept until the end gives the right data. */
  memset (pinned, 3, 4096);
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, s));
  OK (cu.cuStreamSynchronize (s));
  memset (pinned, 4, 4096);
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned + 4096, p, 4096, s));
  OK (cu.cuStreamSynchronize (s));
  CHECK (all (pinned + 4096, 4096, 3));
}

static void
test_pageable_early_return (void)
{
  static unsigned char src[65537], dst[65537];
  CUdeviceptr p;
  CUstream s;
  CUmemGenericAllocationHandle h;
  const unsigned char *window;
  int fd;

  start ();
  p = chunk (2 * MIB, &h);
  OK (cu.cuMemsetD8_v2 (p, 0x11, 2 * MIB));
  OK (cu.cuCtxSynchronize ());
  OK (cu.cuMemExportToShareableHandle (
      &fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  window = mmap (NULL, 2 * MIB, PROT_READ, MAP_SHARED, fd, 0);
  CHECK (window != MAP_FAILED);

  /* Up to 64 KiB are staged by the call, and reach VRAM some time after it. */
  write_file (path ("hang"), "");
  memset (src, 0x22, sizeof src);
  OK (cu.cuMemcpyHtoD_v2 (p, src, 65536));
  memset (src, 0x33, sizeof src);
  CHECK (window[0] == 0x11 && window[65535] == 0x11);
  CHECK (unlink (path ("hang")) == 0);
  OK (cu.cuCtxSynchronize ());
  CHECK (all (window, 65536, 0x22));

  /* A non-blocking stream does not wait for it either... */
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemcpyHtoDAsync_v2 (p, src, 4096, s));
  memset (src, 0x44, sizeof src);
  OK (cu.cuStreamSynchronize (s));
  CHECK (all (window, 4096, 0x33));

  /* ... and larger copies, and all copies to the host, are done on return. */
  memset (src, 0x55, sizeof src);
  OK (cu.cuMemcpyHtoD_v2 (p, src, 65537));
  CHECK (all (window, 65537, 0x55));
  OK (cu.cuMemcpyDtoH_v2 (dst, p, 65537));
  CHECK (all (dst, 65537, 0x55));
}

static void
test_memset_early_return (void)
{
  static unsigned char buf[4096];
  CUdeviceptr p;

  env ("DELAY", "300000-300000");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, MIB));
  int64_t before = now_ms ();
  OK (cu.cuMemsetD8_v2 (p, 7, MIB));
  CHECK (now_ms () - before < 300);
  OK (cu.cuMemcpyDtoH_v2 (buf, p, sizeof buf));
  CHECK (all (buf, sizeof buf, 7));
}

static void
test_legacy_stream (void)
{
  unsigned char *pinned;
  CUdeviceptr p;
  CUstream blocking, other;

  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 12288, 0));
  OK (cu.cuStreamCreate (&blocking, 0));
  OK (cu.cuStreamCreate (&other, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemsetD8_v2 (p, 1, 4096));
  OK (cu.cuCtxSynchronize ());
  memset (pinned, 2, 4096);

  /* A copy on the NULL stream waits for a blocking stream's... */
  write_file (path ("hang"), "");
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, blocking));
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned + 4096, p, 4096, NULL));
  CHECK (unlink (path ("hang")) == 0);
  OK (cu.cuStreamSynchronize (NULL));
  CHECK (all (pinned + 4096, 4096, 2));
  /* ... and the other way round. */
  OK (cu.cuMemsetD8_v2 (p, 3, 4096));
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned + 4096, p, 4096, blocking));
  OK (cu.cuStreamSynchronize (blocking));
  CHECK (all (pinned + 4096, 4096, 3));
  OK (cu.cuStreamDestroy_v2 (blocking));
  OK (cu.cuStreamDestroy_v2 (other));
  GIVES (cu.cuStreamQuery (blocking), CUDA_ERROR_INVALID_HANDLE);
}

/* A copy that hangs holds back only the work that must wait for it.
 */
static void
test_legacy_waits_for_blocking (void)
{
  CUstream blocking, other;
  char *pinned;
  CUdeviceptr p;

  env ("HANG_COPY", "1");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 4096, 0));
  OK (cu.cuStreamCreate (&blocking, 0));
  OK (cu.cuStreamCreate (&other, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, blocking));
  OK (cu.cuMemsetD8_v2 (p, 1, 4096));
  OK (cu.cuMemsetD8Async (p, 1, 4096, other));
  OK (cu.cuStreamSynchronize (other));
  usleep (200000);
  GIVES (cu.cuStreamQuery (NULL), CUDA_ERROR_NOT_READY);
}

static void
test_blocking_waits_for_legacy (void)
{
  CUdeviceptr p;
  CUstream blocking;
  char src[16] = { 0 };

  env ("HANG_COPY", "1");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuStreamCreate (&blocking, 0));
  OK (cu.cuMemcpyHtoD_v2 (p, src, sizeof src));
  OK (cu.cuMemsetD8Async (p, 1, 4096, blocking));
  usleep (200000);
  GIVES (cu.cuStreamQuery (blocking), CUDA_ERROR_NOT_READY);
}

/* A non-blocking stream does not wait for the NULL stream. */
static void
test_non_blocking_stream (void)
{
  static unsigned char src[16];
  unsigned char *pinned;
  CUdeviceptr p;
  CUstream s;

  env ("HANG_COPY", "2");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 4096, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemcpyHtoD_v2 (p, src, sizeof src));
  OK (cu.cuMemcpyHtoD_v2 (p, src, sizeof src)); /* hangs */
  OK (cu.cuMemsetD8Async (p, 1, 4096, s));
  OK (cu.cuStreamSynchronize (s));
  GIVES (cu.cuStreamQuery (NULL), CUDA_ERROR_NOT_READY);
}

static void
test_write_value (void)
{
  unsigned char *pinned;
  _Atomic uint32_t *flag;
  CUdeviceptr p, where;
  CUstream s;
  uint32_t i;

  env ("DELAY", "200");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 8192, 0));
  flag = (_Atomic uint32_t *) (void *) (pinned + 4096);
  atomic_store (flag, 0);
  OK (cu.cuMemHostGetDevicePointer_v2 (&where, (void *) flag, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  for (i = 1; i < 100; i++) {
    OK (cu.cuMemsetD8Async (p, (unsigned char) i, 4096, s));
    OK (cu.cuMemcpyDtoHAsync_v2 (pinned, p, 4096, s));
    OK (cu.cuStreamWriteValue32_v2 (s, where, i, 0));
    while (atomic_load_explicit (flag, memory_order_acquire) != i)
      usleep (50);
    CHECK (all (pinned, 4096, (unsigned char) i));
  }
  GIVES (cu.cuStreamWriteValue32_v2 (s, where + 2, 1, 0),
         CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuStreamWriteValue32_v2 (s, 4096, 1, 0), CUDA_ERROR_INVALID_VALUE);
}

static void
test_events (void)
{
  unsigned char *pinned;
  CUdeviceptr p;
  CUstream s;
  CUevent e;

  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 4096, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuEventCreate (&e, 0));
  OK (cu.cuEventQuery (e));
  write_file (path ("hang"), "");
  OK (cu.cuMemsetD8Async (p, 9, 4096, s));
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned, p, 4096, s));
  OK (cu.cuEventRecord (e, s));
  GIVES (cu.cuEventQuery (e), CUDA_ERROR_NOT_READY);
  CHECK (unlink (path ("hang")) == 0);
  OK (cu.cuEventSynchronize (e));
  CHECK (all (pinned, 4096, 9));
  OK (cu.cuEventDestroy_v2 (e));
  GIVES (cu.cuEventQuery (e), CUDA_ERROR_INVALID_HANDLE);
}

struct lane {
  CUcontext ctx;
  CUdeviceptr base;
  unsigned int number;
};

/* Each query does one piece of work, and the events behind it. */
static void
test_late (void)
{
  CUdeviceptr p;
  CUstream s;
  CUevent e;
  char *pinned, byte;

  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 2, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuEventCreate (&e, 0));
  pinned[0] = 'a';
  pinned[1] = 'b';
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 1, s));
  OK (cu.cuEventRecord (e, s));
  OK (cu.cuMemcpyHtoDAsync_v2 (p + 1, pinned + 1, 1, s));
  usleep (20000);
  pinned[0] = 'c';
  OK (cu.cuEventQuery (e));
  usleep (20000);
  pinned[1] = 'd';
  OK (cu.cuStreamQuery (s));
  OK (cu.cuMemcpyDtoH_v2 (&byte, p, 1));
  CHECK (byte == 'c');
  OK (cu.cuMemcpyDtoH_v2 (&byte, p + 1, 1));
  CHECK (byte == 'd');
  /* A wait does all work. */
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 1, s));
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned + 1, 1, s));
  OK (cu.cuStreamSynchronize (s));
  OK (cu.cuStreamDestroy_v2 (s));
  OK (cu.cuMemFreeHost (pinned));
  OK (cu.cuMemFree_v2 (p));
}

static void
use_late (void)
{
  env ("LATE", "1");
}

static void *
lane_thread (void *arg)
{
  const struct lane *lane = arg;
  const CUdeviceptr at = lane->base + lane->number * 4096;
  unsigned char *pinned, value;
  CUstream s;
  int i;

  OK (cu.cuCtxSetCurrent (lane->ctx));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 8192, 0));
  for (i = 0; i < 300; i++) {
    value = (unsigned char) (i + (int) lane->number * 16);
    memset (pinned, value, 4096);
    OK (cu.cuMemcpyHtoDAsync_v2 (at, pinned, 4096, s));
    OK (cu.cuMemcpyDtoHAsync_v2 (pinned + 4096, at, 4096, s));
    OK (cu.cuStreamSynchronize (s));
    CHECK (all (pinned + 4096, 4096, value));
  }
  OK (cu.cuStreamDestroy_v2 (s));
  OK (cu.cuMemFreeHost (pinned));
  return NULL;
}

/* Lanes side by side in one granule do not disturb each other. */
static void
test_lanes (void)
{
  enum { LANES = 6 };
  pthread_t threads[LANES];
  struct lane lanes[LANES];
  CUcontext ctx = start ();
  CUdeviceptr p;
  unsigned int i;

  OK (cu.cuMemAlloc_v2 (&p, 65536));
  for (i = 0; i < LANES; i++) {
    lanes[i] = (struct lane){ ctx, p, i };
    CHECK (pthread_create (&threads[i], NULL, lane_thread, &lanes[i]) == 0);
  }
  for (i = 0; i < LANES; i++)
    pthread_join (threads[i], NULL);
  OK (cu.cuMemFree_v2 (p));
  OK (cu.cuDevicePrimaryCtxRelease_v2 (0));
}

const struct test stream_tests[] = {
  { "round_trip", test_round_trip, NULL },
  { "fresh_is_garbage", test_fresh_is_garbage, NULL },
  { "use_before_sync", test_use_before_sync, NULL },
  { "pageable_early_return", test_pageable_early_return, use_hang_file },
  { "memset_early_return", test_memset_early_return, NULL },
  { "legacy_stream", test_legacy_stream, use_hang_file },
  { "legacy_waits_for_blocking", test_legacy_waits_for_blocking, NULL },
  { "blocking_waits_for_legacy", test_blocking_waits_for_legacy, NULL },
  { "non_blocking_stream", test_non_blocking_stream, NULL },
  { "write_value", test_write_value, NULL },
  { "events", test_events, use_hang_file },
  { "late", test_late, use_late },
  { "lanes", test_lanes, NULL },
  { NULL, NULL, NULL },
};
