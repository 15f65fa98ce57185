/* nbdkit-vram: tests of each fault that the stand-in driver can inject
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static void
test_fail_nth (void)
{
  size_t free_bytes, total;
  CUdeviceptr p;
  char buf[16];
  int i;

  env ("FAIL", "cuMemAlloc:2:CUDA_ERROR_OUT_OF_MEMORY,cuMemcpy*:3-4:700,"
               "cuMemGetInfo_v2:2+:999");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 16));
  GIVES (cu.cuMemAlloc_v2 (&p, 16), CUDA_ERROR_OUT_OF_MEMORY);
  OK (cu.cuMemAlloc_v2 (&p, 16));
  OK (cu.cuMemcpyHtoD_v2 (p, buf, 16));
  OK (cu.cuMemcpyDtoH_v2 (buf, p, 16));
  GIVES (cu.cuMemcpyHtoD_v2 (p, buf, 16), CUDA_ERROR_ILLEGAL_ADDRESS);
  GIVES (cu.cuMemcpyDtoH_v2 (buf, p, 16), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK (cu.cuMemcpyDtoH_v2 (buf, p, 16));
  OK (cu.cuMemGetInfo_v2 (&free_bytes, &total));
  for (i = 0; i < 5; i++)
    GIVES (cu.cuMemGetInfo_v2 (&free_bytes, &total), CUDA_ERROR_UNKNOWN);
}

static void
test_fail_probability (void)
{
  CUdeviceptr p;
  int i, failed = 0;

  env ("FAIL", "cuMemAlloc:p0.25:2");
  start ();
  for (i = 0; i < 1000; i++)
    if (cu.cuMemAlloc_v2 (&p, 16) != CUDA_SUCCESS)
      failed++;
    else
      OK (cu.cuMemFree_v2 (p));
  /* The seed is fixed, so the number is always the same. */
  CHECK (failed > 200 && failed < 300);
}

static void
test_fail_file (void)
{
  CUdeviceptr p;

  env ("FAIL_FILE", path ("fail"));
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 16));
  write_file (path ("fail"), "cuMemAlloc 2 CUDA_ERROR_OUT_OF_MEMORY\n"
                             "cuMemFree all 1\n");
  GIVES (cu.cuMemAlloc_v2 (&p, 16), CUDA_ERROR_OUT_OF_MEMORY);
  CHECK (access (path ("fail"), F_OK) == -1);
  GIVES (cu.cuMemAlloc_v2 (&p, 16), CUDA_ERROR_OUT_OF_MEMORY);
  OK (cu.cuMemAlloc_v2 (&p, 16));
  GIVES (cu.cuMemFree_v2 (p), CUDA_ERROR_INVALID_VALUE);
  GIVES (cu.cuMemFree_v2 (p), CUDA_ERROR_INVALID_VALUE);
}

static void
test_init_fails_first (void)
{
  env ("INIT_FAIL", "2:CUDA_ERROR_SYSTEM_NOT_READY");
  load ("libcuda.so.1");
  GIVES (cu.cuInit (0), CUDA_ERROR_SYSTEM_NOT_READY);
  GIVES (cu.cuInit (0), CUDA_ERROR_SYSTEM_NOT_READY);
  OK (cu.cuInit (0));
  start ();
}

static void
test_no_device (void)
{
  env ("DEVICES", "0");
  load ("libcuda.so.1");
  GIVES (cu.cuInit (0), CUDA_ERROR_NO_DEVICE);
  GIVES (cu.cuInit (0), CUDA_ERROR_NO_DEVICE);
}

static void
test_lose_copy (void)
{
  unsigned char *pinned;
  _Atomic uint32_t *flag;
  CUdeviceptr p, where;
  CUcontext ctx;
  CUstream s;
  char buf[16];
  int n;

  env ("LOSE_COPY", "3");
  env ("LOSE_CODE", "CUDA_ERROR_ECC_UNCORRECTABLE");
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 8192, 0));
  flag = (_Atomic uint32_t *) (void *) (pinned + 4096);
  atomic_store (flag, 5);
  OK (cu.cuMemHostGetDevicePointer_v2 (&where, (void *) flag, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, s));
  OK (cu.cuMemcpyDtoHAsync_v2 (pinned, p, 4096, s));
  OK (cu.cuStreamSynchronize (s));
  OK (cu.cuMemsetD8Async (p, 1, 4096, s));
  OK (cu.cuStreamSynchronize (s));
  memset (pinned, 0x42, 4096);
  /* These calls may already notice it.  The work is never done. */
  cu.cuMemcpyDtoHAsync_v2 (pinned, p, 4096, s);
  cu.cuStreamWriteValue32_v2 (s, where, 6, 0);
  GIVES (cu.cuStreamSynchronize (s), CUDA_ERROR_ECC_UNCORRECTABLE);
  GIVES (cu.cuStreamQuery (s), CUDA_ERROR_ECC_UNCORRECTABLE);
  CHECK (atomic_load (flag) == 5);
  CHECK (all (pinned, 4096, 0x42));
  GIVES (cu.cuMemcpyDtoH_v2 (buf, p, 16), CUDA_ERROR_ECC_UNCORRECTABLE);
  GIVES (cu.cuMemFree_v2 (p), CUDA_ERROR_ECC_UNCORRECTABLE);
  GIVES (cu.cuDevicePrimaryCtxRetain (&ctx, 0), CUDA_ERROR_ECC_UNCORRECTABLE);
  OK (cu.cuDeviceGetCount (&n));
  OK (cu.cuDevicePrimaryCtxRelease_v2 (0));
}

static void *
wait_for_lost (void *arg)
{
  OK (cu.cuCtxSetCurrent (arg));
  GIVES (cu.cuCtxSynchronize (), CUDA_ERROR_LAUNCH_FAILED);
  return NULL;
}

/* A hang ends only when the device is lost, which wakes a waiting thread.
 */
static void
test_hang_then_lose (void)
{
  CUcontext ctx;
  pthread_t thread;
  CUdeviceptr p;
  CUstream s;
  char *pinned;

  env ("HANG_COPY", "2");
  env ("LOSE_FILE", path ("lose"));
  ctx = start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemHostAlloc ((void **) &pinned, 4096, 0));
  OK (cu.cuStreamCreate (&s, CU_STREAM_NON_BLOCKING));
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, s));
  OK (cu.cuStreamSynchronize (s));
  OK (cu.cuMemcpyHtoDAsync_v2 (p, pinned, 4096, s));
  OK (cu.cuMemsetD8Async (p, 1, 4096, s));
  usleep (100000);
  GIVES (cu.cuStreamQuery (s), CUDA_ERROR_NOT_READY);
  CHECK (pthread_create (&thread, NULL, wait_for_lost, ctx) == 0);
  usleep (100000);
  GIVES (cu.cuStreamQuery (s), CUDA_ERROR_NOT_READY);
  write_file (path ("lose"), "");
  pthread_join (thread, NULL);
  GIVES (cu.cuStreamQuery (s), CUDA_ERROR_LAUNCH_FAILED);
}

static atomic_int returned;

static void *
call_version (void *arg)
{
  int version;

  OK (cu.cuDriverGetVersion (&version));
  atomic_fetch_add (&returned, 1);
  return arg;
}

/* A call that is no copy does not return, and other calls do. */
static void
test_hang_call (void)
{
  pthread_t thread[3];
  int i, n;

  env ("HANG_CALL_FILE", path ("hang"));
  start ();
  write_file (path ("hang"), "cuDriverGetVersion 2\n");
  for (i = 0; i < 3; i++)
    CHECK (pthread_create (&thread[i], NULL, call_version, NULL) == 0);
  while (atomic_load (&returned) < 1)
    usleep (1000);
  OK (cu.cuDeviceGetCount (&n));
  usleep (100000);
  CHECK (atomic_load (&returned) == 1);
  unlink (path ("hang"));
  for (i = 0; i < 3; i++)
    pthread_join (thread[i], NULL);
  CHECK (atomic_load (&returned) == 3);
}

static void
test_lose_device (void)
{
  CUcontext ctx;
  CUdeviceptr p;
  char buf[16];

  env ("DEVICES", "2");
  env ("LOSE_DEVICE", "1");
  env ("LOSE_FILE", path ("lose"));
  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuDevicePrimaryCtxRetain (&ctx, 1));
  write_file (path ("lose"), "");
  OK (cu.cuMemcpyDtoH_v2 (buf, p, 16));
  OK (cu.cuCtxSetCurrent (ctx));
  GIVES (cu.cuMemAlloc_v2 (&p, 16), CUDA_ERROR_LAUNCH_FAILED);
}

static void
test_no_vmm (void)
{
  CUmemAllocationProp p = prop ();
  CUmemGenericAllocationHandle h;
  CUdeviceptr a;
  int value;

  env ("NO_VMM", "1");
  start ();
  OK (cu.cuDeviceGetAttribute (&value, CU_ATTR_VIRTUAL_MEMORY_MANAGEMENT, 0));
  CHECK (value == 0);
  GIVES (cu.cuMemCreate (&h, 2 * MIB, &p, 0), CUDA_ERROR_NOT_SUPPORTED);
  GIVES (cu.cuMemAddressReserve (&a, 2 * MIB, 0, 0, 0),
         CUDA_ERROR_NOT_SUPPORTED);
  OK (cu.cuMemAlloc_v2 (&a, 2 * MIB));
}

static void
test_no_export (void)
{
  CUmemAllocationProp p = prop ();
  CUmemGenericAllocationHandle h;
  int value;

  env ("NO_EXPORT", "1");
  start ();
  OK (cu.cuDeviceGetAttribute (&value, CU_ATTR_HANDLE_TYPE_POSIX_FD, 0));
  CHECK (value == 0);
  GIVES (cu.cuMemCreate (&h, 2 * MIB, &p, 0), CUDA_ERROR_NOT_SUPPORTED);
  p.requested_handle_types = 0;
  OK (cu.cuMemCreate (&h, 2 * MIB, &p, 0));
  GIVES (cu.cuMemExportToShareableHandle (&value, h, 1, 0),
         CUDA_ERROR_INVALID_VALUE);
}

static void
test_no_memops (void)
{
  CUdeviceptr where;
  char *pinned;

  env ("NO_MEMOPS", "1");
  start ();
  OK (cu.cuMemHostAlloc ((void **) &pinned, 4096, 0));
  OK (cu.cuMemHostGetDevicePointer_v2 (&where, pinned, 0));
  GIVES (cu.cuStreamWriteValue32_v2 (NULL, where, 1, 0),
         CUDA_ERROR_NOT_SUPPORTED);
}

static void
test_device_pointer_differs (void)
{
  _Atomic uint32_t *flag;
  CUdeviceptr where;

  env ("DEVPTR_DIFFERS", "1");
  start ();
  OK (cu.cuMemHostAlloc ((void **) &flag, 4096, 0));
  atomic_store (flag, 0);
  OK (cu.cuMemHostGetDevicePointer_v2 (&where, (void *) flag, 0));
  CHECK (where != (uintptr_t) flag);
  GIVES (cu.cuStreamWriteValue32_v2 (NULL, (uintptr_t) flag, 1, 0),
         CUDA_ERROR_INVALID_VALUE);
  OK (cu.cuStreamWriteValue32_v2 (NULL, where, 1, 0));
  OK (cu.cuStreamSynchronize (NULL));
  CHECK (atomic_load (flag) == 1);
}

static void
test_old_driver (void)
{
  char library[512];

  snprintf (library, sizeof library, "%s/old/.libs/libcuda.so.1",
            getenv ("STANDIN_BUILDDIR"));
  load (library);
  CHECK (!cu.cuMemCreate && !cu.cuMemMap && !cu.cuDeviceGetUuid_v2 &&
         !cu.cuStreamWriteValue32_v2);
  CHECK (cu.cuMemAlloc_v2 && cu.cuDeviceGetUuid && cu.cuMemcpyDtoHAsync_v2);
  OK (cu.cuInit (0));
}

static void
test_broken_driver (void)
{
  char library[512];

  snprintf (library, sizeof library, "%s/broken/.libs/libcuda.so.1",
            getenv ("STANDIN_BUILDDIR"));
  load (library);
  CHECK (!cu.cuMemcpyDtoHAsync_v2);
  CHECK (cu.cuMemCreate && cu.cuMemcpyHtoDAsync_v2);
}

const struct test fault_tests[] = {
  { "fail_nth", test_fail_nth, NULL },
  { "fail_probability", test_fail_probability, NULL },
  { "fail_file", test_fail_file, NULL },
  { "init_fails_first", test_init_fails_first, NULL },
  { "no_device", test_no_device, NULL },
  { "lose_copy", test_lose_copy, NULL },
  { "hang_then_lose", test_hang_then_lose, NULL },
  { "hang_call", test_hang_call, NULL },
  { "lose_device", test_lose_device, NULL },
  { "no_vmm", test_no_vmm, NULL },
  { "no_export", test_no_export, NULL },
  { "no_memops", test_no_memops, NULL },
  { "device_pointer_differs", test_device_pointer_differs, NULL },
  { "old_driver", test_old_driver, NULL },
  { "broken_driver", test_broken_driver, NULL },
  { NULL, NULL, NULL },
};
