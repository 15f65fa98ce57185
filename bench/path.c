/* nbdkit-vram: the paths of copies between host memory and VRAM, to compare
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "disk/slots.h"
#include "extra.h"
#include "gpu/cuda/chunk.h"
#include "gpu/cuda/context.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/dma.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"
#include "gpu/vulkan/libvulkan.h"
#include "gpu/vulkan/mapping.h"
#include "gpu/wccopy.h"
#include "path.h"

#define STAGING ((size_t) 512 << 10)

struct machine machine;

static struct cuda cuda;
static struct devices gpus;
static struct cuda_chunk chunk;
static struct dma_queues *queues;
static struct mapping *mapping;
static char no_mapping[PROVIDER_REASON];

/* The plugin's objects, in addition to CHUNK. */
static struct provider *provider;
static struct slots slots;

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
  check (extra.memcpy_htod (chunk.address + offset, kit->buffer, bytes),
         "cuMemcpyHtoD");
}

static void
blocking_read (struct kit *kit, size_t offset, size_t bytes)
{
  check (extra.memcpy_dtoh (kit->buffer, chunk.address + offset, bytes),
         "cuMemcpyDtoH");
}

/* The DMA engine alone, between VRAM and pinned memory: the speed of the bus.
 */

static void
start_write (struct kit *kit, size_t offset, size_t bytes)
{
  check (libcuda.memcpy_htod_async (chunk.address + offset, kit->staging,
                                    bytes, kit->stream),
         "cuMemcpyHtoDAsync");
}

static void
start_read (struct kit *kit, size_t offset, size_t bytes)
{
  check (libcuda.memcpy_dtoh_async (kit->staging, chunk.address + offset,
                                    bytes, kit->stream),
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

/* The same, and then the CPU's copy between the request's buffer and the
 * pinned one.
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

/* The plugin's DMA queues. */

static void
queue_write (struct kit *kit, size_t offset, size_t bytes)
{
  if (dma_write (queues, chunk.address + offset, kit->buffer, bytes) == -1)
    die ("a DMA queue could not write");
}

static void
queue_read (struct kit *kit, size_t offset, size_t bytes)
{
  if (dma_read (queues, kit->buffer, chunk.address + offset, bytes) == -1)
    die ("a DMA queue could not read");
}

/* The plugin's mapping. */

static void
mapping_path_write (struct kit *kit, size_t offset, size_t bytes)
{
  if (mapping_write (mapping, &chunk.mapping, offset, kit->buffer, bytes) ==
      -1)
    die ("the mapping has failed");
}

static void
mapping_path_read (struct kit *kit, size_t offset, size_t bytes)
{
  if (mapping_read (mapping, &chunk.mapping, kit->buffer, offset, bytes) == -1)
    die ("the mapping has failed");
}

static const char *
mapping_missing (struct kit *kit)
{
  (void) kit;
  return chunk.mapping.address ? NULL : no_mapping;
}

/* What the plugin does for a request: one of the last two. */

static void
plugin_write (struct kit *kit, size_t offset, size_t bytes)
{
  if (slots_write (&slots, kit->buffer, bytes, offset) == -1)
    die ("the plugin could not write");
}

static void
plugin_read (struct kit *kit, size_t offset, size_t bytes)
{
  if (slots_read (&slots, kit->buffer, bytes, offset) == -1)
    die ("the plugin could not read");
}

static const char *
plugin_missing (struct kit *kit)
{
  (void) kit;
  return provider ? NULL : "the plugin cannot use this GPU";
}

const struct path paths[] = {
  { "blocking", blocking_write, blocking_read, NULL, false },
  { "pinned", pinned_write, pinned_read, NULL, true },
  { "staged", staged_write, staged_read, NULL, false },
  { "staged-flag", flag_write, flag_read, flag_missing, false },
  { "lane", queue_write, queue_read, NULL, false },
  { "window", mapping_path_write, mapping_path_read, mapping_missing, false },
  { "plugin", plugin_write, plugin_read, plugin_missing, false },
};
const size_t nr_paths = sizeof paths / sizeof paths[0];

static void
open_plugin (const struct device *gpu)
{
  const struct provider_options options = {
    .staging = STAGING,
    .mapping = MAPPING_AUTO,
  };

  provider = cuda_provider.open (gpu, &options, PATH_REGION, NULL);
  if (provider == NULL)
    return;
  if (slots_allocate (&slots, provider, PATH_REGION, PATH_REGION, 0) == -1)
    die ("there is too little free VRAM");
}

static void
open_mapping (const struct device *gpu)
{
  int fd;

  mapping = mapping_open (gpu->uuid_bytes, PATH_REGION, no_mapping);
  if (mapping == NULL)
    return;
  check (chunk_export (&chunk, &fd), "cuMemExportToShareableHandle");
  mapping_add (mapping, &chunk.mapping, fd, PATH_REGION, no_mapping);
  close (fd);
}

void
paths_open (unsigned index, unsigned threads, const char *instructions)
{
  const char *missing, *what = "cuMemAlloc";
  const struct device *gpu;
  bool exportable;

  libvulkan_prepare ();
  machine.instructions = wccopy_choose (instructions);
  if (machine.instructions == NULL)
    die ("-w: this CPU, or this program, does not have '%s'", instructions);
  if (libcuda_load () == -1)
    die ("CUDA cannot be used");
  missing = extra_load ();
  if (missing)
    die ("libcuda.so.1 does not have %s", missing);
  if (cuda_init (5000) == -1)
    die ("CUDA cannot be used");
  if (devices_list (&gpus) == -1)
    die ("the GPUs cannot be listed");
  if (index >= gpus.count)
    die ("-g: there is no GPU %u, there are %zu", index, gpus.count);
  gpu = &gpus.gpu[index];
  snprintf (machine.gpu, sizeof machine.gpu, "%s", gpu->name);
  check (libcuda.driver_get_version (&machine.cuda), "cuDriverGetVersion");

  if (device_open (gpu, &cuda) == -1)
    die ("the GPU cannot be opened");
  exportable = chunk_granularity (&cuda) > 0;
  check (chunk_allocate (&cuda, &chunk, PATH_REGION, exportable, &what), what);
  queues = dma_create (&cuda, threads, STAGING);
  if (queues == NULL)
    die ("there are no DMA queues");
  if (exportable)
    open_mapping (gpu);
  else
    snprintf (no_mapping, sizeof no_mapping, "VRAM cannot be exported");
  open_plugin (gpu);
}

void
paths_close (void)
{
  if (cuda_enter (&cuda) == -1)
    die ("the context is lost");
  slots_free (&slots);
  if (provider)
    provider->f->close (provider);
  if (mapping)
    mapping_remove (mapping, &chunk.mapping);
  mapping_close (mapping, false);
  dma_free (queues);
  chunk_free (&cuda, &chunk);
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

/* Copies a pattern of this round to OFFSET by WRITER and back by READER, and
 * compares it.
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
  const struct path *other = &paths[1]; /* the DMA engine alone */
  size_t i;

  /* The plugin has VRAM of its own.  A blocking write of 64 KiB or less may
   * return before another path sees its bytes.
   */
  if (path->write == plugin_write || path->write == blocking_write)
    other = path;
  for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    check_pair (path, path, kit, 3 * sizes[i], sizes[i]);
    check_pair (path, other, kit, 4 * sizes[i], sizes[i]);
    check_pair (other, path, kit, 5 * sizes[i], sizes[i]);
  }
}
