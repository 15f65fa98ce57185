/* nbdkit-vram: VRAM by CUDA, mapped for the CPU by Vulkan
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/units.h"
#include "debug.h"
#include "gpu/calibrate.h"
#include "gpu/copy.h"
#include "gpu/cuda/boost.h"
#include "gpu/cuda/check.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/provider.h"
#include "gpu/vulkan/libvulkan.h"
#include "gpu/vulkan/release.h"
#include "watchdog.h"

/* The most DMA queues without lanes=.  Each copy keeps a CPU busy, and the GPU
 * is no faster with more than a few at a time.
 */
#define QUEUES_MIN 4
#define QUEUES_MAX 16

/* The best size of chunks.  With smaller chunks VRAM could be given back in
 * smaller pieces, but a disk would need more descriptors.
 */
#define CHUNK_SIZE (64 * MiB)

struct cuda_gpu {
  struct provider provider; /* first */
  struct cuda cuda;
  bool exportable; /* chunks can be exported */
  bool exported;   /* one has been */
  struct dma_queues *queues;
  struct mapping *mapping; /* NULL: no mapping */
  atomic_uint mapped;      /* number of mapped chunks */

  /* Why there is no mapping, or why the last chunk is not mapped. */
  pthread_mutex_t no_mapping_lock;
  char no_mapping[PROVIDER_REASON];

  bool wants_mapping; /* window=no was not given */
  bool demanded;      /* window=yes */
  struct copier copier;
  struct gpu_check check;
};

static struct cuda_gpu *
gpu_of (const struct provider *p)
{
  return (struct cuda_gpu *) p;
}

static struct cuda_chunk *
chunk_of (const struct chunk *chunk)
{
  return (struct cuda_chunk *) chunk;
}

static int
cuda_provider_load (const struct provider_options *options)
{
  if (!options->boost)
    boost_disable ();
  if (libcuda_load () == -1)
    return -1;
  if (options->mapping != MAPPING_NO)
    libvulkan_prepare ();
  log_debug ("quiet while idle: %s", boost_text (boost_state ()));
  return 0;
}

static int
cuda_provider_list (unsigned wait_ms, struct devices *devices)
{
  return cuda_init (wait_ms) == -1 ? -1 : devices_list (devices);
}

static void
cuda_provider_dump (void)
{
  char text[CUDA_DRIVER_VERSION];
  int version;

  printf ("vram_driver_version=%s\n", cuda_driver_version (text));
  printf ("vram_quiet=%s\n", boost_text (boost_state ()));
  if (libcuda.driver_get_version &&
      libcuda.driver_get_version (&version) == CUDA_SUCCESS)
    printf ("vram_cuda_version=%d.%d\n", version / 1000, version % 1000 / 10);
}

static int
cuda_provider_can_map (const struct device *device, uint64_t bytes,
                       char reason[PROVIDER_REASON])
{
  return mapping_probe (device->uuid_bytes, bytes, reason) ? 0 : -1;
}

static void
cuda_provider_settle (struct provider *p)
{
  /* Also if Vulkan was loaded and does not work. */
  if (gpu_of (p)->wants_mapping)
    release_libraries ();
}

/*
 * Chunks.
 */

/* As chunk_allocate.  Chunks are exportable unless the driver has refused that
 * before it exported one.
 */
static CUresult
allocate (struct cuda_gpu *gpu, struct cuda_chunk *chunk, uint64_t size,
          const char **what)
{
  CUresult r;

  r = chunk_allocate (&gpu->cuda, chunk, size, gpu->exportable, what);
  /* A failed reservation is not a lack of VRAM. */
  if (!gpu->exportable || gpu->exported || r == CUDA_SUCCESS ||
      (r == CUDA_ERROR_OUT_OF_MEMORY &&
       strcmp (*what, "cuMemAddressReserve") != 0))
    return r;
  log_warning ("this driver refuses exportable VRAM (%s: " CUDA_WORDS "): the "
               "CPU cannot map it, and no later server can take it over",
               *what, CUDA_WORDS_ARGS (r));
  gpu->exportable = false;
  return chunk_allocate (&gpu->cuda, chunk, size, false, what);
}

static void
set_no_mapping (struct cuda_gpu *gpu, const char *reason)
{
  pthread_mutex_lock (&gpu->no_mapping_lock);
  snprintf (gpu->no_mapping, PROVIDER_REASON, "%s", reason);
  pthread_mutex_unlock (&gpu->no_mapping_lock);
}

/* Map CHUNK for the CPU, if possible.  Returns as prove_mapping. */
static int
map_chunk (struct cuda_gpu *gpu, struct cuda_chunk *chunk, uint64_t spare,
           char reason[PROVIDER_REASON])
{
  CUresult error;
  int fd, r = 1;

  if (!chunk->exportable) {
    snprintf (reason, PROVIDER_REASON, "this driver cannot export VRAM");
    return 1;
  }
  error = chunk_export (chunk, &fd);
  if (error != CUDA_SUCCESS) {
    snprintf (reason, PROVIDER_REASON, "cannot export VRAM: " CUDA_WORDS,
              CUDA_WORDS_ARGS (error));
    return 1;
  }
  if (mapping_add (gpu->mapping, &chunk->mapping, fd, chunk->chunk.size,
                   reason) == 0) {
    r = prove_mapping (&gpu->copier, chunk, spare, reason);
    if (r != 0)
      mapping_remove (gpu->mapping, &chunk->mapping);
  }
  close (fd);
  return r;
}

static int
cuda_provider_map (struct provider *p, struct chunk *chunk, uint64_t spare,
                   char reason[PROVIDER_REASON])
{
  struct cuda_gpu *gpu = gpu_of (p);
  char why[PROVIDER_REASON];
  int r = -1;

  if (gpu->mapping == NULL)
    return 0;
  watchdog_enter ();
  if (cuda_enter (&gpu->cuda) == 0)
    r = map_chunk (gpu, chunk_of (chunk), spare, why);
  if (r == -1) {
    snprintf (reason, PROVIDER_REASON, "DMA fails");
    return -1;
  }
  if (r == 0) {
    atomic_fetch_add (&gpu->mapped, 1);
    return 0;
  }
  if (gpu->demanded && atomic_load (&gpu->mapped) == 0) {
    snprintf (reason, PROVIDER_REASON, "window=yes: %.480s", why);
    return -1;
  }
  log_debug ("mapping: a chunk goes by DMA alone: %s", why);
  set_no_mapping (gpu, why);
  return 0;
}

static void
cuda_provider_free (struct provider *p, struct chunk *c)
{
  struct cuda_gpu *gpu = gpu_of (p);
  struct cuda_chunk *chunk = chunk_of (c);

  watchdog_enter ();
  if (chunk->mapping.address) {
    atomic_fetch_sub (&gpu->mapped, 1);
    if (!cuda_is_lost (&gpu->cuda))
      mapping_remove (gpu->mapping, &chunk->mapping);
  }
  /* If this fails, all other calls would fail too; the driver frees the VRAM
   * at exit.
   */
  cuda_enter (&gpu->cuda);
  chunk_free (&gpu->cuda, chunk);
  free (chunk);
}

static int
cuda_provider_allocate (struct provider *p, uint64_t size, struct chunk **out,
                        char reason[PROVIDER_REASON])
{
  struct cuda_gpu *gpu = gpu_of (p);
  struct cuda_chunk *chunk = calloc (1, sizeof *chunk);
  const char *what;
  CUresult error;

  watchdog_enter ();
  if (chunk == NULL || cuda_enter (&gpu->cuda) == -1) {
    snprintf (reason, PROVIDER_REASON, "%m");
    free (chunk);
    return -1;
  }
  error = allocate (gpu, chunk, size, &what);
  if (error != CUDA_SUCCESS) {
    snprintf (reason, PROVIDER_REASON, "%s: " CUDA_WORDS, what,
              CUDA_WORDS_ARGS (error));
    free (chunk);
    return error == CUDA_ERROR_OUT_OF_MEMORY ? 1 : -1;
  }
  *out = &chunk->chunk;
  return 0;
}

static struct chunk *
cuda_provider_import (struct provider *p, int fd, uint64_t size,
                      char reason[PROVIDER_REASON])
{
  struct cuda_gpu *gpu = gpu_of (p);
  struct cuda_chunk *chunk = calloc (1, sizeof *chunk);
  const char *what;
  CUresult error;

  watchdog_enter ();
  if (chunk == NULL || cuda_enter (&gpu->cuda) == -1) {
    snprintf (reason, PROVIDER_REASON, "%m");
    goto err;
  }
  if (!gpu->exportable) {
    snprintf (reason, PROVIDER_REASON, "this driver cannot import VRAM");
    goto err;
  }
  error = chunk_import (&gpu->cuda, chunk, fd, size, &what);
  if (error == CUDA_SUCCESS)
    return &chunk->chunk;
  snprintf (reason, PROVIDER_REASON, CUDA_WORDS, CUDA_WORDS_ARGS (error));

err:
  free (chunk);
  return NULL;
}

static int
cuda_provider_export (struct provider *p, const struct chunk *c,
                      char reason[PROVIDER_REASON])
{
  struct cuda_gpu *gpu = gpu_of (p);
  const struct cuda_chunk *chunk = chunk_of (c);
  CUresult error;
  int fd;

  if (!chunk->exportable) {
    snprintf (reason, PROVIDER_REASON, "this driver cannot export VRAM");
    return -1;
  }
  watchdog_enter ();
  if (cuda_enter (&gpu->cuda) == -1) {
    snprintf (reason, PROVIDER_REASON, "%m");
    return -1;
  }
  error = chunk_export (chunk, &fd);
  if (error == CUDA_SUCCESS) {
    gpu->exported = true;
    return fd;
  }
  snprintf (reason, PROVIDER_REASON, CUDA_WORDS, CUDA_WORDS_ARGS (error));
  return -1;
}

static int
cuda_provider_free_bytes (struct provider *p, uint64_t *bytes)
{
  struct cuda *cuda = &gpu_of (p)->cuda;

  watchdog_enter ();
  return cuda_enter (cuda) == -1 ? -1 : cuda_free_bytes (cuda, bytes);
}

/*
 * Opening.
 */

static unsigned
default_queues (void)
{
  long cpus = sysconf (_SC_NPROCESSORS_ONLN);

  if (cpus < QUEUES_MIN)
    return QUEUES_MIN;
  return cpus > QUEUES_MAX ? QUEUES_MAX : (unsigned) cpus;
}

/* Go on without a mapping, unless it was demanded. */
static int
refuse_mapping (struct cuda_gpu *gpu)
{
  if (gpu->demanded) {
    log_error ("window=yes: %s", gpu->no_mapping);
    return -1;
  }
  log_debug ("no mapping, copies go by DMA alone: %s", gpu->no_mapping);
  mapping_close (gpu->mapping, cuda_is_lost (&gpu->cuda));
  gpu->mapping = gpu->copier.mapping = NULL;
  return 0;
}

static void
set_limits (struct cuda_gpu *gpu, const struct provider_options *options)
{
  struct copy_limits *limits = &gpu->copier.limits;
  char text[3][SIZE_TEXT];

  *limits = gpu->provider.limits;
  if (options->read_max_set)
    limits->read_max = limits->read_max_rested = options->read_max;
  if (vram_debug_window_write_max != 0)
    limits->write_max = vram_debug_window_write_max < 0
                            ? 0
                            : (uint64_t) vram_debug_window_write_max;
  log_debug ("mapping: serves writes of up to %s, reads of up to %s, or %s "
             "when the GPU has rested",
             size_text (limits->write_max, text[0]),
             size_text (limits->read_max, text[1]),
             size_text (limits->read_max_rested, text[2]));
}

/* Try the mapping in SCRATCH, and measure its limits unless LIMITS has them.
 * Returns as prove_mapping.
 */
static int
try_mapping (struct cuda_gpu *gpu, struct cuda_chunk *scratch,
             const struct copy_limits *limits)
{
  struct provider *p = &gpu->provider;
  int r = map_chunk (gpu, scratch, SPARE_ALL, gpu->no_mapping);

  if (r == 0 && limits == NULL)
    r = calibrate (&gpu->copier, scratch, &p->limits, gpu->no_mapping);
  if (!cuda_is_lost (&gpu->cuda))
    mapping_remove (gpu->mapping, &scratch->mapping);
  p->limits_known = r == 0;
  return r;
}

/* Open the mapping.  SCRATCH, unless it has size 0, is VRAM to try it in. */
static int
open_mapping (struct cuda_gpu *gpu, const struct provider_options *options,
              uint64_t size, struct cuda_chunk *scratch,
              const struct copy_limits *limits)
{
  int r;

  gpu->wants_mapping = options->mapping != MAPPING_NO;
  gpu->demanded = options->mapping == MAPPING_YES;
  if (options->mapping == MAPPING_NO) {
    snprintf (gpu->no_mapping, PROVIDER_REASON, "window=no");
    return 0;
  }
  if (!gpu->exportable) {
    snprintf (gpu->no_mapping, PROVIDER_REASON,
              "this driver cannot export VRAM");
    return refuse_mapping (gpu);
  }
  gpu->mapping =
      mapping_open (gpu->provider.device.uuid_bytes, size, gpu->no_mapping);
  if (gpu->mapping == NULL)
    return refuse_mapping (gpu);
  gpu->copier.mapping = gpu->mapping;
  gpu->provider.limits = limits ? *limits : calibrate_usual;
  gpu->provider.limits_known = limits != NULL;
  if (scratch->chunk.size > 0) {
    r = try_mapping (gpu, scratch, limits);
    if (r != 0)
      return r == 1 ? refuse_mapping (gpu) : -1;
  }
  set_limits (gpu, options);
  return 0;
}

static void
cuda_provider_close (struct provider *p)
{
  struct cuda_gpu *gpu = gpu_of (p);

  watchdog_set_expired (NULL, NULL);
  watchdog_enter ();
  gpu_check_end (&gpu->check);
  mapping_close (gpu->mapping, cuda_is_lost (&gpu->cuda));
  watchdog_enter ();
  dma_free (gpu->queues);
  cuda_close (&gpu->cuda);
  free (gpu);
}

/* Make the DMA queues and the mapping, and use each path once in VRAM without
 * data.
 */
static int
open_paths (struct cuda_gpu *gpu, const struct provider_options *options,
            uint64_t size, const struct copy_limits *limits)
{
  struct provider *p = &gpu->provider;
  struct cuda_chunk scratch = { .chunk.size = 0 };
  uint64_t bytes =
      options->staging > CALIBRATE_BYTES ? options->staging : CALIBRATE_BYTES;
  const char *what;
  CUresult error;
  int r = 0;

  gpu->queues = dma_create (
      &gpu->cuda, options->queues ? options->queues : default_queues (),
      options->staging);
  if (gpu->queues == NULL)
    return -1;
  gpu->copier.cuda = &gpu->cuda;
  gpu->copier.queues = gpu->queues;
  error = allocate (gpu, &scratch, ROUND_UP (bytes, p->granularity), &what);
  if (error != CUDA_SUCCESS)
    log_debug ("cannot allocate VRAM to try copies: %s: " CUDA_WORDS, what,
               CUDA_WORDS_ARGS (error));
  else {
    r = dma_warm_up (gpu->queues, scratch.address);
    if (r == -1)
      log_error ("the GPU's VRAM cannot be used");
  }
  if (r == 0)
    r = open_mapping (gpu, options, size, &scratch, limits);
  if (r == 0 && error == CUDA_SUCCESS)
    r = dma_set (gpu->queues, scratch.address, 0, scratch.chunk.size);
  if (error == CUDA_SUCCESS)
    chunk_free (&gpu->cuda, &scratch);
  return r;
}

static struct provider *
cuda_provider_open (const struct device *device,
                    const struct provider_options *options, uint64_t size,
                    const struct copy_limits *limits)
{
  struct cuda_gpu *gpu = calloc (1, sizeof *gpu);
  struct provider *p = &gpu->provider;

  if (gpu == NULL) {
    log_error ("calloc: %m");
    return NULL;
  }
  pthread_mutex_init (&gpu->no_mapping_lock, NULL);
  p->f = &cuda_provider;
  p->device = *device;
  p->quiet = boost_state ();
  if (device_open (device, &gpu->cuda) == -1) {
    free (gpu);
    return NULL;
  }
  p->granularity = chunk_granularity (&gpu->cuda);
  gpu->exportable = p->granularity > 0;
  if (!gpu->exportable)
    p->granularity = GRANULARITY;
  p->chunk_size =
      p->granularity > CHUNK_SIZE ? p->granularity : (uint64_t) CHUNK_SIZE;
  if (open_paths (gpu, options, size, limits) == -1 ||
      gpu_check_begin (&gpu->check, &gpu->cuda, gpu->queues) == -1) {
    cuda_provider_close (p);
    return NULL;
  }
  watchdog_set_expired (cuda_expired, &gpu->cuda);
  return p;
}

/*
 * Copying.
 */

static int
cuda_provider_read (struct provider *p, struct chunk *chunk, uint64_t offset,
                    void *buf, size_t count)
{
  return copy_read (&gpu_of (p)->copier, chunk_of (chunk), offset, buf, count);
}

static int
cuda_provider_write (struct provider *p, struct chunk *chunk, uint64_t offset,
                     const void *buf, size_t count)
{
  return copy_write (&gpu_of (p)->copier, chunk_of (chunk), offset, buf,
                     count);
}

static int
cuda_provider_zero (struct provider *p, struct chunk *chunk, uint64_t offset,
                    uint64_t count)
{
  watchdog_enter ();
  return dma_set (gpu_of (p)->queues, chunk_of (chunk)->address + offset, 0,
                  count);
}

static void
cuda_provider_share_sleep (struct provider *p, _Atomic uint64_t *slept)
{
  gpu_check_share (&gpu_of (p)->check, slept);
}

static int
cuda_provider_check (struct provider *p)
{
  struct cuda_gpu *gpu = gpu_of (p);

  if (cuda_is_lost (&gpu->cuda)) {
    errno = EIO;
    return -1;
  }
  /* With the first request of each thread. */
  if (dma_prepare_thread (gpu->queues) == -1)
    return -1;
  return gpu_check (&gpu->check);
}

/* Whether no chunk is mapped.  (An elastic disk may have no chunk.) */
static bool
nothing_maps (struct cuda_gpu *gpu)
{
  bool failed;

  pthread_mutex_lock (&gpu->no_mapping_lock);
  failed = gpu->no_mapping[0] != '\0';
  pthread_mutex_unlock (&gpu->no_mapping_lock);
  return failed && atomic_load (&gpu->mapped) == 0;
}

static void
cuda_provider_describe (const struct provider *p, struct provider_path *path)
{
  struct cuda_gpu *gpu = gpu_of (p);
  const struct copy_limits *limits = &gpu->copier.limits;
  const char *reason;

  path->reason[0] = '\0';
  if (cuda_is_lost (&gpu->cuda)) {
    path->path = PATH_LOST;
    return;
  }
  path->path = PATH_DMA;
  if (gpu->mapping && !mapping_is_open (gpu->mapping))
    reason = "the window has failed (SIGBUS)";
  else if (gpu->mapping == NULL || nothing_maps (gpu))
    reason = gpu->no_mapping;
  else if (limits->read_max_rested == 0 && limits->write_max == 0)
    reason = "the window is not faster, or not allowed, for any size";
  else {
    path->path = PATH_MAPPING;
    return;
  }
  /* Without the advice, which is long and also in the man page. */
  pthread_mutex_lock (&gpu->no_mapping_lock);
  snprintf (path->reason, PROVIDER_REASON, "%.*s", (int) strcspn (reason, ";"),
            reason);
  pthread_mutex_unlock (&gpu->no_mapping_lock);
}

const struct provider_functions cuda_provider = {
  .name = "cuda",
  .load = cuda_provider_load,
  .list = cuda_provider_list,
  .device_free = device_free_bytes,
  .dump = cuda_provider_dump,
  .can_map = cuda_provider_can_map,
  .open = cuda_provider_open,
  .close = cuda_provider_close,
  .allocate = cuda_provider_allocate,
  .import = cuda_provider_import,
  .map = cuda_provider_map,
  .export = cuda_provider_export,
  .settle = cuda_provider_settle,
  .free = cuda_provider_free,
  .free_bytes = cuda_provider_free_bytes,
  .read = cuda_provider_read,
  .write = cuda_provider_write,
  .zero = cuda_provider_zero,
  .check = cuda_provider_check,
  .share_sleep = cuda_provider_share_sleep,
  .describe = cuda_provider_describe,
};
