/* nbdkit-vram: tests of the stand-in driver's start, devices and contexts
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static void
test_devices (void)
{
  char name[64], pci[16];
  int n, value;
  CUuuid uuid, other;
  size_t bytes;
  const char *s;

  env ("DEVICES", "2");
  env ("NAMES", "First,Second GPU");
  env ("MEMORY", "1G,512M");
  env ("PCI", "0000:17:00.0,0001:81:02.1");
  env ("UUIDS", "00112233-4455-6677-8899-aabbccddeeff,"
                "GPU-ffeeddcc-bbaa-9988-7766-554433221100");
  load ("libcuda.so.1");
  GIVES (cu.cuDeviceGetCount (&n), CUDA_ERROR_NOT_INITIALIZED);
  OK (cu.cuDriverGetVersion (&n));
  CHECK (n >= 12000);
  OK (cu.cuInit (0));
  OK (cu.cuDeviceGetCount (&n));
  CHECK (n == 2);
  OK (cu.cuDeviceGet (&n, 1));
  CHECK (n == 1);
  GIVES (cu.cuDeviceGet (&n, 2), CUDA_ERROR_INVALID_DEVICE);
  OK (cu.cuDeviceGetName (name, sizeof name, 1));
  CHECK (strcmp (name, "Second GPU") == 0);
  OK (cu.cuDeviceTotalMem_v2 (&bytes, 1));
  CHECK (bytes == 512 * MIB);
  OK (cu.cuDeviceGetPCIBusId (pci, sizeof pci, 1));
  CHECK (strcmp (pci, "0001:81:02.1") == 0);
  OK (cu.cuDeviceGetUuid (&uuid, 1));
  OK (cu.cuDeviceGetUuid_v2 (&other, 1));
  CHECK (memcmp (&uuid, &other, 16) == 0);
  CHECK (uuid.bytes[0] == 0xff && uuid.bytes[15] == 0);
  OK (cu.cuDeviceGetAttribute (&value, CU_ATTR_VIRTUAL_MEMORY_MANAGEMENT, 0));
  CHECK (value == 1);
  OK (cu.cuGetErrorName (803, &s));
  CHECK (strcmp (s, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH") == 0);
  OK (cu.cuGetErrorString (2, &s));
  CHECK (strcmp (s, "out of memory") == 0);
  GIVES (cu.cuGetErrorName (12345, &s), CUDA_ERROR_INVALID_VALUE);
}

static void *
thread_without_context (void *arg)
{
  CUcontext ctx = arg;
  CUdeviceptr p;

  GIVES (cu.cuMemAlloc_v2 (&p, 4096), CUDA_ERROR_INVALID_CONTEXT);
  GIVES (cu.cuCtxSynchronize (), CUDA_ERROR_INVALID_CONTEXT);
  OK (cu.cuCtxSetCurrent (ctx));
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  OK (cu.cuMemFree_v2 (p));
  return NULL;
}

static void
test_context_per_thread (void)
{
  CUcontext ctx = start (), current;
  pthread_t thread;
  CUdeviceptr p;
  unsigned int flags;
  int active;

  CHECK (pthread_create (&thread, NULL, thread_without_context, ctx) == 0);
  pthread_join (thread, NULL);
  OK (cu.cuCtxGetCurrent (&current));
  CHECK (current == ctx);
  OK (cu.cuDevicePrimaryCtxGetState (0, &flags, &active));
  CHECK (active);
  OK (cu.cuDevicePrimaryCtxRelease_v2 (0));
  OK (cu.cuDevicePrimaryCtxGetState (0, &flags, &active));
  CHECK (!active);
  GIVES (cu.cuMemAlloc_v2 (&p, 4096), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  GIVES (cu.cuDevicePrimaryCtxRelease_v2 (0), CUDA_ERROR_INVALID_CONTEXT);
}

static void
test_fork (void)
{
  int status, n;
  pid_t pid;
  char byte = 1;
  CUdeviceptr p;

  start ();
  OK (cu.cuMemAlloc_v2 (&p, 4096));
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    GIVES (cu.cuInit (0), CUDA_ERROR_NOT_INITIALIZED);
    GIVES (cu.cuDeviceGetCount (&n), CUDA_ERROR_NOT_INITIALIZED);
    GIVES (cu.cuMemcpyHtoD_v2 (p, &byte, 1), CUDA_ERROR_NOT_INITIALIZED);
    _exit (0);
  }
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (status == 0);
  OK (cu.cuMemcpyHtoD_v2 (p, &byte, 1));
}

/* The library may be loaded before the fork, if cuInit comes after it. */
static void
test_init_after_fork (void)
{
  int status;
  pid_t pid;

  load ("libcuda.so.1");
  OK (cu.cuDriverGetVersion (&status));
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    start ();
    _exit (0);
  }
  CHECK (waitpid (pid, &status, 0) == pid);
  CHECK (status == 0);
}

const struct test device_tests[] = {
  { "devices", test_devices, NULL },
  { "context_per_thread", test_context_per_thread, NULL },
  { "fork", test_fork, NULL },
  { "init_after_fork", test_init_after_fork, NULL },
  { NULL, NULL, NULL },
};
