/* nbdkit-vram: a plugin of the plain design, for comparison
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* One cuMemAlloc, and one blocking copy for each request: the simplest VRAM
 * disk.  It is built for the benchmark, is never installed, and is not safe
 * for swap.
 */

#include <config.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "extra.h"
#include "gpu/cuda/libcuda.h"

/* Size of the disk in bytes (parameter size). */
static int64_t size = -1;

static CUcontext context;
static CUdeviceptr vram;

static int
plain_config (const char *key, const char *value)
{
  if (strcmp (key, "size") != 0) {
    nbdkit_error ("unknown parameter '%s'", key);
    return -1;
  }
  size = nbdkit_parse_size (value);
  return size == -1 ? -1 : 0;
}

static int
plain_config_complete (void)
{
  if (size <= 0) {
    nbdkit_error ("the size parameter is required");
    return -1;
  }
  return 0;
}

#define plain_config_help "[size=]SIZE  (required) Size of the disk."

static int
plain_get_ready (void)
{
  const char *missing;

  if (libcuda_load () == -1)
    return -1;
  missing = extra_load ();
  if (missing) {
    nbdkit_error ("libcuda.so.1 does not have %s", missing);
    return -1;
  }
  return 0;
}

/* Converts the driver's result of WHAT to 0 or an errno. */
static int
check (CUresult result, const char *what)
{
  const char *name = NULL;

  if (result == CUDA_SUCCESS)
    return 0;
  if (libcuda.get_error_name (result, &name) != CUDA_SUCCESS || name == NULL)
    name = "unknown error";
  nbdkit_error ("%s: %s", what, name);
  nbdkit_set_error (EIO);
  return -1;
}

/* CUDA starts threads, so it must not be called before nbdkit has forked. */
static int
plain_after_fork (void)
{
  CUdevice device;

  if (check (libcuda.init (0), "cuInit") == -1 ||
      check (libcuda.device_get (&device, 0), "cuDeviceGet") == -1 ||
      check (libcuda.primary_ctx_retain (&context, device),
             "cuDevicePrimaryCtxRetain") == -1 ||
      check (libcuda.ctx_set_current (context), "cuCtxSetCurrent") == -1 ||
      check (libcuda.mem_alloc (&vram, (size_t) size), "cuMemAlloc") == -1 ||
      check (libcuda.memset_d8_async (vram, 0, (size_t) size, NULL),
             "cuMemsetD8Async") == -1 ||
      check (extra.stream_synchronize (NULL), "cuStreamSynchronize") == -1)
    return -1;
  return 0;
}

static void *
plain_open (int readonly)
{
  (void) readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static int64_t
plain_get_size (void *handle)
{
  (void) handle;
  return size;
}

/* One disk for all connections, and every completed write is in VRAM. */
static int
plain_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

static int
plain_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
             uint32_t flags)
{
  (void) handle;
  (void) flags;
  if (check (libcuda.ctx_set_current (context), "cuCtxSetCurrent") == -1)
    return -1;
  return check (extra.memcpy_dtoh (buf, vram + offset, count), "cuMemcpyDtoH");
}

static int
plain_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  (void) handle;
  (void) flags;
  (void) handle;
  (void) flags;
  if (check (libcuda.ctx_set_current (context), "cuCtxSetCurrent") == -1)
    return -1;
  return check (extra.memcpy_htod (vram + offset, buf, count), "cuMemcpyHtoD");
}

static struct nbdkit_plugin plugin = {
  .name = "plain",
  .version = PACKAGE_VERSION,
  .longname = "the plain design, for comparison only",
  .config = plain_config,
  .config_complete = plain_config_complete,
  .config_help = plain_config_help,
  .magic_config_key = "size",
  .get_ready = plain_get_ready,
  .after_fork = plain_after_fork,
  .open = plain_open,
  .get_size = plain_get_size,
  .can_multi_conn = plain_can_multi_conn,
  .pread = plain_pread,
  .pwrite = plain_pwrite,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
