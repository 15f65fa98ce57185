/* nbdkit-vram: the ways of copying between host memory and VRAM, to compare
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "gpu/cuda/chunk.h"
#include "gpu/cuda/context.h"
#include "extra.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/dma.h"
#include "gpu/vulkan/libvulkan.h"
#include "path.h"
#include "gpu/vram.h"
#include "gpu/wccopy.h"
#include "gpu/vulkan/mapping.h"

struct machine machine;

static struct cuda cuda;
static struct devices gpus;
static struct chunks chunks;
static struct dma_queues *lanes;
static struct mapping *window;
static char window_reason[MAPPING_REASON];
static struct vram *vram; /* the plugin's own, beside CHUNKS */

void
die (const char *format, ...)
{
  va_list ap;

  fprintf (stderr, "micro: ");
  va_start (ap, format);
  vfprintf (stderr, format, ap);
  va_end (ap);
  fprintf (stderr, "\n");
  exit (EXIT_FAILURE);
}

static void
check (CUresult result, const char *what)
{
  const char *name = NULL;

  if (result == CUDA_SUCCESS)
    return;
  if (libcuda.get_error_name (result, &name) != CUDA_SUCCESS || name == NULL)
    name = "unknown error";
  die ("%s: %s", what, name);
}

/* The driver's blocking copy from and to pageable memory. */

static void
blocking_write (struct kit *kit, size_t offset, size_t bytes)
{
  check (extra.memcpy_htod (chunks.base + offset, kit->buffer, bytes),
         "cuMemcpyHtoD");
}

static void
blocking_read (struct kit *kit, size_t offset, size_t bytes)
{
  check (extra.memcpy_dtoh (kit->buffer, chunks.base + offset, bytes),
         "cuMemcpyDtoH");
}

/* The engine alone, between VRAM and pinned memory: what the bus gives. */

static void
start_write (struct kit *kit, size_t offset, size_t bytes)
{
  check (libcuda.memcpy_htod_async (chunks.base + offset, kit->staging, bytes,
                                    kit->stream),
         "cuMemcpyHtoDAsync");
}

static void
start_read (struct kit *kit, size_t offset, size_t bytes)
{
  check (libcuda.memcpy_dtoh_async (kit->staging, chunks.base + offset, bytes,
                                    kit->stream),
         "cuMemcpyDtoHAsync");
}

static void
pinned_write (struct kit *kit, size_t offset, size_t bytes)
{
  start_write (kit, offset, bytes);
  check (extra.stream_synchronize (kit->stream), "cuStreamSynchronize");
}

static void
pinned_read (struct kit *kit, size_t offset, size_t bytes)
{
  start_read (kit, offset, bytes);
  check (extra.stream_synchronize (kit->stream), "cuStreamSynchronize");
}

/* The same and the CPU's copy between the request's buffer and the pinned
 * one, one after the other.
 */

static void
staged_write (struct kit *kit, size_t offset, size_t bytes)
{
  memcpy (kit->staging, kit->buffer, bytes);
  pinned_write (kit, offset, bytes);
}

static void
staged_read (struct kit *kit, size_t offset, size_t bytes)
{
  pinned_read (kit, offset, bytes);
  memcpy (kit->buffer, kit->staging, bytes);
}

/* The same, but the stream writes a flag that the CPU polls. */

static void
wait_for_flag (struct kit *kit)
{
  uint32_t serial = ++kit->serial;

  check (
      extra.stream_write_value32 (kit->stream, kit->flag_address, serial, 0),
      "cuStreamWriteValue32");
  while (atomic_load_explicit (kit->flag, memory_order_acquire) != serial)
    ;
}

static void
flag_write (struct kit *kit, size_t offset, size_t bytes)
{
  memcpy (kit->staging, kit->buffer, bytes);
  start_write (kit, offset, bytes);
  wait_for_flag (kit);
}

static void
flag_read (struct kit *kit, size_t offset, size_t bytes)
{
  start_read (kit, offset, bytes);
  wait_for_flag (kit);
  memcpy (kit->buffer, kit->staging, bytes);
}

static const char *
flag_missing (struct kit *kit)
{
  if (extra.stream_write_value32 == NULL)
    return "libcuda.so.1 does not have cuStreamWriteValue32_v2";
  if (extra.stream_write_value32 (kit->stream, kit->flag_address, 0, 0) !=
      CUDA_SUCCESS)
    return "the GPU does not support cuStreamWriteValue32";
  return NULL;
}

/* The plugin's lanes. */

static void
lane_write (struct kit *kit, size_t offset, size_t bytes)
{
  if (dma_write (lanes, chunks.base + offset, kit->buffer, bytes) == -1)
    die ("a lane could not write");
}

static void
lane_read (struct kit *kit, size_t offset, size_t bytes)
{
  if (dma_read (lanes, kit->buffer, chunks.base + offset, bytes) == -1)
    die ("a lane could not read");
}

/* The plugin's window. */

static void
window_path_write (struct kit *kit, size_t offset, size_t bytes)
{
  if (mapping_write (window, offset, kit->buffer, bytes) == -1)
    die ("the window has been shut");
}

static void
window_path_read (struct kit *kit, size_t offset, size_t bytes)
{
  if (mapping_read (window, kit->buffer, offset, bytes) == -1)
    die ("the window has been shut");
}

static const char *
window_missing (struct kit *kit)
{
  (void) kit;
  return window ? NULL : window_reason;
}

/* What the plugin does for a request: one of the last two. */

static void
plugin_write (struct kit *kit, size_t offset, size_t bytes)
{
  if (vram_write (vram, kit->buffer, bytes, offset) == -1)
    die ("the plugin could not write");
}

static void
plugin_read (struct kit *kit, size_t offset, size_t bytes)
{
  if (vram_read (vram, kit->buffer, bytes, offset) == -1)
    die ("the plugin could not read");
}

static const char *
plugin_missing (struct kit *kit)
{
  (void) kit;
  return vram ? NULL : "the plugin cannot use this GPU";
}

const struct path paths[] = {
  { "blocking", blocking_write, blocking_read, NULL, false },
  { "pinned", pinned_write, pinned_read, NULL, true },
  { "staged", staged_write, staged_read, NULL, false },
  { "staged-flag", flag_write, flag_read, flag_missing, false },
  { "lane", lane_write, lane_read, NULL, false },
  { "window", window_path_write, window_path_read, window_missing, false },
  { "plugin", plugin_write, plugin_read, plugin_missing, false },
};
const size_t nr_paths = sizeof paths / sizeof paths[0];

static void
open_vram (unsigned index)
{
  char device[16];
  const struct vram_options options = {
    .device = device,
    .size = { .kind = SIZE_BYTES, .bytes = PATH_REGION },
    .staging = VRAM_STAGING_DEFAULT,
    .window = VRAM_MAPPING_AUTO,
    .scrub = true,
  };

  snprintf (device, sizeof device, "%u", index);
  vram = vram_open (&options);
  if (vram && vram_size (vram) < PATH_REGION)
    die ("there is too little free VRAM");
}

void
paths_open (unsigned index, unsigned threads, const char *instructions)
{
  const char *missing;
  const struct device *gpu;

  libvulkan_prepare ();
  machine.instructions = wccopy_choose (instructions);
  if (machine.instructions == NULL)
    die ("-w: this CPU, or this program, does not have '%s'", instructions);
  if (libcuda_load () == -1)
    die ("%s", libcuda_load_error ());
  missing = extra_load ();
  if (missing)
    die ("libcuda.so.1 does not have %s", missing);
  if (cuda_init (5000) == -1)
    die ("%s", cuda_init_error ());
  if (devices_list (&gpus) == -1)
    die ("the GPUs cannot be listed");
  if (index >= gpus.count)
    die ("-g: there is no GPU %u, there are %zu", index, gpus.count);
  gpu = &gpus.gpu[index];
  snprintf (machine.gpu, sizeof machine.gpu, "%s", gpu->name);
  check (libcuda.driver_get_version (&machine.cuda), "cuDriverGetVersion");

  if (cuda_open (&cuda, gpu->device) == -1 ||
      chunks_allocate (&chunks, &cuda, PATH_REGION, PATH_REGION, 0) == -1)
    die ("there is no VRAM to copy to");
  lanes = dma_create (&cuda, threads, VRAM_STAGING_DEFAULT);
  if (lanes == NULL)
    die ("there are no lanes");
  window = mapping_open (&chunks, gpu->uuid_bytes, window_reason);
  open_vram (index);
}

void
paths_close (void)
{
  if (cuda_enter (&cuda) == -1)
    die ("the context is lost");
  vram_close (vram, false);
  mapping_free (window, false);
  dma_free (lanes);
  chunks_free (&chunks);
  cuda_close (&cuda);
  devices_free (&gpus);
}

void
kit_open (struct kit *kit)
{
  void *pointer;

  memset (kit, 0, sizeof *kit);
  if (cuda_enter (&cuda) == -1)
    die ("the context is lost");
  check (libcuda.stream_create (&kit->stream, CU_STREAM_NON_BLOCKING),
         "cuStreamCreate");
  check (libcuda.mem_host_alloc (&pointer, PATH_BIGGEST,
                                 CU_MEMHOSTALLOC_PORTABLE),
         "cuMemHostAlloc");
  kit->staging = pointer;
  check (libcuda.mem_host_alloc (&pointer, 4096,
                                 CU_MEMHOSTALLOC_PORTABLE |
                                     CU_MEMHOSTALLOC_DEVICEMAP),
         "cuMemHostAlloc");
  kit->flag = pointer;
  atomic_init (kit->flag, 0);
  check (extra.mem_host_get_device_pointer (&kit->flag_address, pointer, 0),
         "cuMemHostGetDevicePointer");
  kit->buffer = malloc (PATH_BIGGEST);
  if (kit->buffer == NULL)
    die ("malloc: %s", strerror (errno));
  memset (kit->buffer, 0x5a, PATH_BIGGEST);
  memset (kit->staging, 0x5a, PATH_BIGGEST);
}

void
kit_close (struct kit *kit)
{
  free (kit->buffer);
  check (libcuda.mem_free_host ((void *) kit->flag), "cuMemFreeHost");
  check (libcuda.mem_free_host (kit->staging), "cuMemFreeHost");
  check (libcuda.stream_destroy (kit->stream), "cuStreamDestroy");
}

/* Copy a pattern that no other round has to OFFSET by WRITER and back by
 * READER, and compare.
 */
static void
check_pair (const struct path *writer, const struct path *reader,
            struct kit *kit, size_t offset, size_t bytes)
{
  static uint64_t round;
  uint64_t state = ++round * UINT64_C (0x9e3779b97f4a7c15);
  uint8_t *buffer = writer->staging_only ? kit->staging : kit->buffer;
  size_t i;

  for (i = 0; i < bytes; ++i)
    buffer[i] = (uint8_t) (state >> (i % 8 * 8)) ^ (uint8_t) (i >> 3);
  writer->write (kit, offset, bytes);
  buffer = reader->staging_only ? kit->staging : kit->buffer;
  memset (buffer, 0, bytes);
  reader->read (kit, offset, bytes);
  for (i = 0; i < bytes; ++i)
    if (buffer[i] !=
        (uint8_t) ((uint8_t) (state >> (i % 8 * 8)) ^ (uint8_t) (i >> 3)))
      die ("byte %zu of %zu, written by %s and read by %s, is wrong", i, bytes,
           writer->name, reader->name);
}

void
path_check (const struct path *path, struct kit *kit)
{
  static const size_t sizes[] = { 4096, 32768, 131072, PATH_BIGGEST };
  const struct path *other = &paths[1]; /* the engine without ado */
  size_t i;

  /* The plugin has VRAM of its own.  A blocking write of 64 KiB or less may
   * return before another way sees its bytes.
   */
  if (path->write == plugin_write || path->write == blocking_write)
    other = path;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    check_pair (path, path, kit, 3 * sizes[i], sizes[i]);
    check_pair (path, other, kit, 4 * sizes[i], sizes[i]);
    check_pair (other, path, kit, 5 * sizes[i], sizes[i]);
  }
}
