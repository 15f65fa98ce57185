/* nbdkit-vram: the stand-in driver's start, devices and contexts
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "standin.h"

enum needs { ANY, INIT, DEV, CTX, VMM };

static const enum needs needs[FN_COUNT] = {
#define FUNCTION(name, what) what,
#include "functions.h"
#undef FUNCTION
};

struct context contexts[MAX_DEVICES];

static __thread struct context *current;

/* The process in which cuInit succeeded, or 0. */
static _Atomic pid_t init_pid;
static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

static struct physical *context_memory[MAX_DEVICES];

static CUresult
enter_context (struct context **ctx)
{
  bool active;
  CUresult r;

  if (!current)
    return CUDA_ERROR_INVALID_CONTEXT;
  pthread_mutex_lock (&current->lock);
  active = current->refs > 0;
  pthread_mutex_unlock (&current->lock);
  if (!active)
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  r = fault_lost (current->dev);
  if (r == CUDA_SUCCESS)
    *ctx = current;
  return r;
}

CUresult
enter (enum function fn, struct context **ctx)
{
  pid_t pid;
  CUresult r;

  config_load ();
  /* In a forked child other threads' locks may be held for ever. */
  pid = atomic_load (&init_pid);
  if (pid && pid != getpid ())
    return needs[fn] == ANY && fn != FN_cuInit ? CUDA_SUCCESS
                                               : CUDA_ERROR_NOT_INITIALIZED;
  trace_call (fn);
  r = fault_call (fn);
  if (r)
    return r;
  if (needs[fn] == ANY)
    return CUDA_SUCCESS;
  if (!pid)
    return CUDA_ERROR_NOT_INITIALIZED;
  fault_poll ();
  switch (needs[fn]) {
  case DEV:
  case VMM:
    return fault_any_lost ();
  case CTX:
    return enter_context (ctx);
  default:
    return CUDA_SUCCESS;
  }
}

/* The real driver has a thread from cuInit on, too, which is one reason why it
 * does not survive fork.  This one wakes waiting threads when a trigger file
 * appears.
 */
static void *
watcher (void *arg)
{
  (void) arg;
  for (;;) {
    if (!fault_any_trigger ())
      pause ();
    usleep (5000);
    fault_poll ();
  }
  return NULL;
}

/* Use as much of the host's memory as config.host_memory says, as the real
 * driver does.
 */
static CUresult
use_host_memory (void)
{
  char *m;

  if (config.host_memory == 0)
    return CUDA_SUCCESS;
  m = mmap (NULL, config.host_memory, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED)
    return CUDA_ERROR_OUT_OF_MEMORY;
  memset (m, 0xa7, config.host_memory);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuInit (unsigned int flags)
{
  CUresult r = enter (FN_cuInit, NULL);
  pthread_t thread;
  int i;

  if (r)
    return r;
  if (flags)
    return CUDA_ERROR_INVALID_VALUE;
  if (config.devices == 0)
    return CUDA_ERROR_NO_DEVICE;
  pthread_mutex_lock (&init_lock);
  if (!init_pid) {
    for (i = 0; i < config.devices; i++) {
      contexts[i].dev = i;
      pthread_mutex_init (&contexts[i].lock, NULL);
      pthread_cond_init (&contexts[i].changed, NULL);
    }
    r = use_host_memory ();
    if (r == CUDA_SUCCESS && thread_start (&thread, watcher, NULL) != 0)
      r = CUDA_ERROR_OPERATING_SYSTEM;
    if (r == CUDA_SUCCESS) {
      pthread_detach (thread);
      atomic_store (&init_pid, getpid ());
    }
  }
  pthread_mutex_unlock (&init_lock);
  return r;
}

EXPORT CUresult
cuDriverGetVersion (int *version)
{
  CUresult r = enter (FN_cuDriverGetVersion, NULL);

  if (r)
    return r;
  if (!version)
    return CUDA_ERROR_INVALID_VALUE;
  *version = config.version;
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGetCount (int *count)
{
  CUresult r = enter (FN_cuDeviceGetCount, NULL);

  if (r)
    return r;
  if (!count)
    return CUDA_ERROR_INVALID_VALUE;
  *count = config.devices;
  return CUDA_SUCCESS;
}

static CUresult
enter_device (enum function fn, CUdevice dev, const void *result)
{
  CUresult r = enter (fn, NULL);

  if (r)
    return r;
  if (!result)
    return CUDA_ERROR_INVALID_VALUE;
  if (dev < 0 || dev >= config.devices)
    return CUDA_ERROR_INVALID_DEVICE;
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGet (CUdevice *device, int ordinal)
{
  CUresult r = enter_device (FN_cuDeviceGet, ordinal, device);

  if (r)
    return r;
  *device = ordinal;
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGetName (char *name, int len, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDeviceGetName, dev, name);

  if (r)
    return r;
  if (len <= 0)
    return CUDA_ERROR_INVALID_VALUE;
  snprintf (name, (size_t) len, "%s", config.names[dev]);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGetUuid (CUuuid *uuid, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDeviceGetUuid, dev, uuid);

  if (r)
    return r;
  *uuid = config.uuids[dev];
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGetUuid_v2 (CUuuid *uuid, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDeviceGetUuid_v2, dev, uuid);

  if (r)
    return r;
  *uuid = config.uuids[dev];
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceTotalMem_v2 (size_t *bytes, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDeviceTotalMem_v2, dev, bytes);

  if (r)
    return r;
  *bytes = config.memory[dev];
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGetPCIBusId (char *id, int len, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDeviceGetPCIBusId, dev, id);
  const int *pci = config.pci[dev >= 0 && dev < MAX_DEVICES ? dev : 0];

  if (r)
    return r;
  if (len < 13)
    return CUDA_ERROR_INVALID_VALUE;
  snprintf (id, (size_t) len, "%04x:%02x:%02x.%x", (unsigned int) pci[0],
            (unsigned int) pci[1], (unsigned int) pci[2],
            (unsigned int) pci[3]);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDeviceGetAttribute (int *value, int attribute, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDeviceGetAttribute, dev, value);

  if (r)
    return r;
  switch (attribute) {
  case CU_ATTR_PCI_DOMAIN_ID:
    *value = config.pci[dev][0];
    break;
  case CU_ATTR_PCI_BUS_ID:
    *value = config.pci[dev][1];
    break;
  case CU_ATTR_PCI_DEVICE_ID:
    *value = config.pci[dev][2];
    break;
  case CU_ATTR_MULTIPROCESSOR_COUNT:
    *value = 1;
    break;
  case CU_ATTR_ASYNC_ENGINE_COUNT:
    *value = 2;
    break;
  case CU_ATTR_COMPUTE_CAPABILITY_MAJOR:
    *value = 9;
    break;
  case CU_ATTR_CAN_MAP_HOST_MEMORY:
  case CU_ATTR_UNIFIED_ADDRESSING:
    *value = 1;
    break;
  case CU_ATTR_STREAM_MEM_OPS_V1:
  case CU_ATTR_STREAM_MEM_OPS_64_V1:
  case CU_ATTR_STREAM_MEM_OPS_64:
    *value = !config.no_memops;
    break;
  case CU_ATTR_VIRTUAL_MEMORY_MANAGEMENT:
    *value = !config.no_vmm;
    break;
  case CU_ATTR_HANDLE_TYPE_POSIX_FD:
    *value = !config.no_vmm && !config.no_export;
    break;
  default:
    if (attribute <= 0 || attribute > CU_ATTR_MAX)
      return CUDA_ERROR_INVALID_VALUE;
    *value = 0;
  }
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDevicePrimaryCtxRetain (CUcontext *result, CUdevice dev)
{
  CUresult r = enter_device (FN_cuDevicePrimaryCtxRetain, dev, result);
  struct context *ctx;

  if (r)
    return r;
  r = fault_lost (dev);
  if (r)
    return r;
  ctx = &contexts[dev];
  pthread_mutex_lock (&ctx->lock);
  if (ctx->refs == 0) {
    uint64_t size = (config.context + GRANULARITY - 1) & ~(GRANULARITY - 1);

    if (size)
      r = physical_create (&context_memory[dev], dev, size, false);
    if (r == CUDA_SUCCESS && !stream_begin (ctx)) {
      if (context_memory[dev])
        physical_unref (context_memory[dev]);
      context_memory[dev] = NULL;
      r = CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (r == CUDA_SUCCESS)
      report_resource (RES_CONTEXT, 1, 0);
  }
  if (r == CUDA_SUCCESS) {
    ctx->refs++;
    *result = ctx;
  }
  pthread_mutex_unlock (&ctx->lock);
  return r;
}

EXPORT CUresult
cuDevicePrimaryCtxRelease_v2 (CUdevice dev)
{
  CUresult r = enter_device (FN_cuDevicePrimaryCtxRelease_v2, dev, &dev);
  struct context *ctx;
  bool last;

  if (r)
    return r;
  ctx = &contexts[dev];
  pthread_mutex_lock (&ctx->lock);
  if (ctx->refs == 0) {
    pthread_mutex_unlock (&ctx->lock);
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  last = --ctx->refs == 0;
  pthread_mutex_unlock (&ctx->lock);
  if (!last)
    return CUDA_SUCCESS;

  /* All that belongs to the context goes with it. */
  stream_end (ctx);
  host_free_all (dev);
  address_free_all (dev);
  if (context_memory[dev])
    physical_unref (context_memory[dev]);
  context_memory[dev] = NULL;
  report_resource (RES_CONTEXT, -1, 0);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDevicePrimaryCtxSetFlags_v2 (CUdevice dev, unsigned int flags)
{
  CUresult r = enter_device (FN_cuDevicePrimaryCtxSetFlags_v2, dev, &dev);

  if (r)
    return r;
  if (flags & ~(unsigned int) CU_CTX_FLAGS_MASK)
    return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock (&contexts[dev].lock);
  contexts[dev].flags = flags;
  pthread_mutex_unlock (&contexts[dev].lock);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuDevicePrimaryCtxGetState (CUdevice dev, unsigned int *flags, int *active)
{
  CUresult r = enter_device (FN_cuDevicePrimaryCtxGetState, dev, flags);

  if (r)
    return r;
  if (!active)
    return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock (&contexts[dev].lock);
  *flags = contexts[dev].flags;
  *active = contexts[dev].refs > 0;
  pthread_mutex_unlock (&contexts[dev].lock);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuCtxSetCurrent (CUcontext ctx)
{
  CUresult r = enter (FN_cuCtxSetCurrent, NULL);
  int i;

  if (r)
    return r;
  if (!ctx) {
    current = NULL;
    return CUDA_SUCCESS;
  }
  for (i = 0; i < config.devices; i++)
    if (ctx == &contexts[i]) {
      current = ctx;
      return CUDA_SUCCESS;
    }
  return CUDA_ERROR_INVALID_CONTEXT;
}

EXPORT CUresult
cuCtxGetCurrent (CUcontext *ctx)
{
  CUresult r = enter (FN_cuCtxGetCurrent, NULL);

  if (r)
    return r;
  if (!ctx)
    return CUDA_ERROR_INVALID_VALUE;
  *ctx = current;
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuCtxSynchronize (void)
{
  struct context *ctx;
  CUresult r = enter (FN_cuCtxSynchronize, &ctx);

  return r ? r : stream_wait_all (ctx);
}
