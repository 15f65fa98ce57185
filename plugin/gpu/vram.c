/* nbdkit-vram: one GPU's VRAM as memory to read and write
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "disk/blockmap.h"
#include "gpu/cuda/chunk.h"
#include "common/clock.h"
#include "gpu/cuda/check.h"
#include "gpu/cuda/boost.h"
#include "gpu/cuda/context.h"
#include "gpu/cuda/dma.h"
#include "gpu/copy.h"
#include "shed.h"
#include "gpu/vram.h"
#include "watchdog.h"
#include "gpu/vulkan/mapping.h"

/* Lanes unless lanes= says otherwise: copies keep a CPU busy each, and the GPU
 * gains nothing from more than a few at a time.
 */
#define DMA_QUEUES_DEFAULT_MIN 4
#define DMA_QUEUES_DEFAULT_MAX 16

/* VRAM is overwritten in pieces, so that a slow GPU is not taken for one that
 * hangs: even at 1 GB/s such a piece takes 1 second.
 */
#define SCRUB_PIECE GiB

struct vram {
  struct device gpu;
  struct cuda cuda;
  struct chunks chunks;
  struct dma_queues *lanes;
  struct mapping *window;          /* NULL: there is none */
  char no_mapping[MAPPING_REASON]; /* why not */
  struct copier route;
  struct gpu_check check;
  uint64_t asked; /* bytes that size= said; 0 unless it said bytes */
  bool scrub;
};

/* The GPU that holds the disk of STATE.  NULL after log_error when it is not
 * there, or not the one that device= names.
 */
static const struct device *
find_gpu_of (const struct devices *gpus, const struct superblock *superblock,
             const char *device)
{
  const uint8_t *uuid = superblock->header->gpu;
  const struct device *gpu = NULL, *named;
  char text[DEVICE_UUID_TEXT];

  for (size_t i = 0; i < gpus->count; ++i)
    if (memcmp (gpus->gpu[i].uuid_bytes, uuid,
                sizeof gpus->gpu[i].uuid_bytes) == 0)
      gpu = &gpus->gpu[i];
  if (gpu == NULL) {
    log_error ("adopt: the disk cannot be taken over: it lies on another "
               "GPU, %s, which is not there",
               device_uuid_text (uuid, text));
    return NULL;
  }
  if (device == NULL)
    return gpu;
  named = devices_find (gpus, device);
  if (named && named != gpu) {
    log_error ("adopt: the disk cannot be taken over: it lies on another "
               "GPU, %s, than device=%s, which is %s",
               gpu->uuid, device, named->uuid);
    return NULL;
  }
  return named;
}

/* Find the GPU that OPTIONS mean. */
static int
choose_gpu (struct vram *vram, const struct vram_options *options)
{
  struct devices gpus;
  const struct device *gpu;

  if (devices_list (&gpus) == -1)
    return -1;
  if (options->superblock)
    gpu = find_gpu_of (&gpus, options->superblock, options->device);
  else if (options->device)
    gpu = devices_find (&gpus, options->device);
  else
    gpu = devices_most_free (&gpus);
  if (gpu)
    vram->gpu = *gpu;
  devices_free (&gpus);
  return gpu ? 0 : -1;
}

static int
allocate (struct vram *vram, const struct vram_options *options)
{
  static const struct size max = { .kind = SIZE_MAX_FREE };
  uint64_t bytes_free, asked, first, most, min;

  if (cuda_free_bytes (&vram->cuda, &bytes_free) == -1 ||
      size_resolve (&options->size, vram->gpu.total, bytes_free,
                    options->headroom, &asked) == -1 ||
      size_resolve (&max, vram->gpu.total, bytes_free, options->headroom,
                    &most) == -1)
    return -1;

  if (options->min_size_set)
    min = ROUND_DOWN (options->min_size, BLOCK_SIZE);
  else
    min = asked < VRAM_MIN_SIZE_DEFAULT && options->size.kind != SIZE_MAX_FREE
              ? asked
              : VRAM_MIN_SIZE_DEFAULT;
  if (options->size.kind == SIZE_BYTES && min > asked) {
    log_error ("min-size=%s is more than size=%s", SIZE_STR (min),
               SIZE_STR (asked));
    return -1;
  }
  /* With size=max or a percentage the smaller one may be what was asked; and of
   * a percentage there need be no more than size=max would be.
   */
  if (asked < min)
    asked = min;
  first = asked;
  if (options->size.kind == SIZE_PERCENT && first > most)
    first = most > min ? most : min;

  vram->asked = options->size.kind == SIZE_BYTES ? asked : 0;
  if (chunks_allocate (&vram->chunks, &vram->cuda, first, min,
                       options->headroom) == -1)
    return -1;
  if (vram->chunks.size < asked && options->size.kind != SIZE_MAX_FREE)
    log_warning ("VRAM is short: asked for %s of %s, got %s", SIZE_STR (asked),
                 vram->gpu.name, SIZE_STR (vram->chunks.size));
  log_debug ("asked for %" PRIu64 " bytes of VRAM, got %" PRIu64
             " in %zu chunks of %s on device=%d: %s, %s, %s",
             asked, vram->chunks.size, vram->chunks.count,
             SIZE_STR (vram->chunks.chunk_size), vram->gpu.index,
             vram->gpu.name, vram->gpu.uuid, vram->gpu.pci);
  return 0;
}

/* Whether size= stands in the way of taking over the disk of HEADER: when it
 * says bytes, then other ones than it said before, and not what was got then.
 * A percentage, and max, depend on what is free and are not looked at.
 */
static int
check_size (const struct superblock_header *header, const struct size *size)
{
  uint64_t asked = ROUND_DOWN (size->bytes, BLOCK_SIZE);

  if (size->kind != SIZE_BYTES || asked == header->asked ||
      asked == header->disk_size)
    return 0;
  log_error ("adopt: the disk cannot be taken over: size=%s is another size "
             "than the disk's, which is %s",
             SIZE_STR (asked), SIZE_STR (header->disk_size));
  return -1;
}

/* Have the chunks of the server that was there before. */
static int
take_over (struct vram *vram, const struct vram_options *options)
{
  const struct superblock_header *header = options->superblock->header;

  vram->asked = header->asked;
  if (chunks_import (&vram->chunks, &vram->cuda, options->adopt->chunk,
                     header->chunk_count, header->chunk_size,
                     header->allocated, header->disk_size) == -1)
    return -1;
  log_debug ("took over %" PRIu64 " bytes of VRAM in %zu chunks of %s on "
             "device=%d: %s, %s, %s",
             vram->chunks.size, vram->chunks.count,
             SIZE_STR (vram->chunks.chunk_size), vram->gpu.index,
             vram->gpu.name, vram->gpu.uuid, vram->gpu.pci);
  return 0;
}

static unsigned
default_dma_queues (void)
{
  long cpus = sysconf (_SC_NPROCESSORS_ONLN);

  if (cpus < DMA_QUEUES_DEFAULT_MIN)
    return DMA_QUEUES_DEFAULT_MIN;
  return cpus > DMA_QUEUES_DEFAULT_MAX ? DMA_QUEUES_DEFAULT_MAX
                                       : (unsigned) cpus;
}

/* Overwrite all VRAM with zeros, also what was allocated beyond the disk's end:
 * other programs' data may stand there, and chunks can be handed to others.
 */
static int
scrub (struct vram *vram)
{
  uint64_t size = vram->chunks.allocated, n, start = clock_ms ();

  for (uint64_t done = 0; done < size; done += n) {
    watchdog_enter ();
    n = size - done < SCRUB_PIECE ? size - done : SCRUB_PIECE;
    if (dma_set (vram->lanes, vram->chunks.base + done, 0, n) == -1)
      return -1;
  }
  log_debug ("overwrote %s of VRAM in %" PRIu64 " ms", SIZE_STR (size),
             clock_ms () - start);
  return 0;
}

/* Lanes warm up in the disk's own VRAM, which holds nothing yet; a disk that
 * is smaller than a lane's staging memory makes do with less of that.
 */
static size_t
fitting_staging (const struct vram *vram, uint64_t staging)
{
  uint64_t size = ROUND_DOWN (vram->chunks.size, STAGING_MIN);

  if (staging <= size)
    return staging;
  return size > STAGING_MIN ? size : STAGING_MIN;
}

/* Run every path of the lanes once, in VRAM that holds nothing: the disk's own,
 * or, when that holds data, some that is given back at once.
 */
static int
warm_up_dma (struct vram *vram, size_t staging, bool adopted)
{
  CUdeviceptr scratch = vram->chunks.base;
  CUresult error;
  int r;

  if (adopted) {
    error = libcuda.mem_alloc (&scratch, staging);
    if (error != CUDA_SUCCESS) {
      log_debug ("no VRAM to warm up in: " CUDA_WORDS,
                 CUDA_WORDS_ARGS (error));
      return 0;
    }
  }
  r = dma_warm_up (vram->lanes, scratch);
  if (adopted && r == 0)
    libcuda.mem_free (scratch);
  if (r == -1)
    log_error ("the GPU's VRAM cannot be used");
  return r;
}

/* Where the chunks of STATE hold nothing, up to one place in each half of each.
 * Returns how many.
 */
static size_t
find_free_places (const struct superblock *superblock,
                  const struct chunks *chunks, uint64_t places[2 * CHUNKS_MAX])
{
  uint64_t first, middle, end, block;
  size_t n = 0;

  for (size_t i = 0; i < chunks->count; ++i) {
    first = chunks->chunk[i].offset / BLOCK_SIZE;
    end = first + chunks->chunk[i].size / BLOCK_SIZE;
    middle = first + (end - first) / 2;
    if (superblock_find_free (superblock, first, middle, &block))
      places[n++] = block * BLOCK_SIZE;
    if (superblock_find_free (superblock, middle, end, &block))
      places[n++] = block * BLOCK_SIZE;
  }
  return n;
}

/* Use the window for VRAM that holds data.  As copy_add_mapping. */
static int
adopt_mapping (struct vram *vram, const struct superblock *superblock,
               const uint64_t *read_max, char reason[MAPPING_REASON])
{
  const struct copy_limits limits = {
    .read_max = atomic_load (&superblock->shared->read_max),
    .read_max_rested = atomic_load (&superblock->shared->read_max_rested),
    .write_max = atomic_load (&superblock->shared->write_max),
  };
  bool known = atomic_load (&superblock->shared->limits_known) != 0;
  uint64_t places[2 * CHUNKS_MAX];
  size_t count = find_free_places (superblock, &vram->chunks, places);

  return copy_adopt_mapping (&vram->route, vram->window, &vram->chunks, places,
                             count, known ? &limits : NULL, read_max, reason);
}

/* Do without a window for REASON, unless it was demanded. */
static int
refuse_mapping (struct vram *vram, const struct vram_options *options,
                const char *reason)
{
  if (options->window == VRAM_MAPPING_YES) {
    log_error ("window=yes: %s", reason);
    return -1;
  }
  log_debug ("no window, copies go by DMA alone: %s", reason);
  /* Without the advice, which is long, and in the man page too. */
  snprintf (vram->no_mapping, MAPPING_REASON, "%.*s",
            (int) strcspn (reason, ";"), reason);
  return 0;
}

static void
close_mapping (struct vram *vram)
{
  mapping_free (vram->window, cuda_is_lost (&vram->cuda));
  vram->window = NULL;
  vram->route.window = NULL;
}

/* Open the window and find out what to use it for. */
static int
open_mapping (struct vram *vram, const struct vram_options *options)
{
  const uint64_t *read_max =
      options->window_read_max_set ? &options->window_read_max : NULL;
  char reason[MAPPING_REASON];
  int r;

  copy_init (&vram->route, vram->lanes, &vram->chunks);
  if (options->window == VRAM_MAPPING_NO) {
    snprintf (vram->no_mapping, MAPPING_REASON, "window=no");
    return 0;
  }
  vram->window = mapping_open (&vram->chunks, vram->gpu.uuid_bytes, reason);
  if (vram->window == NULL)
    return refuse_mapping (vram, options, reason);
  if (options->superblock)
    r = adopt_mapping (vram, options->superblock, read_max, reason);
  else
    r = copy_add_mapping (&vram->route, vram->window, &vram->chunks, read_max,
                          reason);
  if (r != 0)
    close_mapping (vram);
  return r == 1 ? refuse_mapping (vram, options, reason) : r;
}

static struct vram *
open_vram (const struct vram_options *options)
{
  const bool adopted = options->superblock != NULL;
  struct vram *vram;
  size_t staging;

  if (adopted &&
      check_size (options->superblock->header, &options->size) == -1)
    return NULL;
  vram = calloc (1, sizeof *vram);
  if (vram == NULL) {
    log_error ("calloc: %m");
    return NULL;
  }
  vram->scrub = options->scrub;

  if (!options->boost)
    boost_disable ();
  log_debug ("quiet while idle: %s", boost_text (boost_state ()));
  if (cuda_init (options->init_wait_ms) == -1) {
    log_error ("%s", cuda_init_error ());
    goto err_vram;
  }
  if (choose_gpu (vram, options) == -1)
    goto err_vram;
  if (cuda_open (&vram->cuda, vram->gpu.device) == -1)
    goto err_vram;
  if ((adopted ? take_over : allocate) (vram, options) == -1)
    goto err_cuda;
  staging = fitting_staging (vram, options->staging);
  vram->lanes = dma_create (
      &vram->cuda, options->lanes ? options->lanes : default_dma_queues (),
      staging);
  if (vram->lanes == NULL)
    goto err_chunks;
  if (warm_up_dma (vram, staging, adopted) == -1)
    goto err_lanes;
  if (open_mapping (vram, options) == -1)
    goto err_lanes;
  /* Also when Vulkan was of no use. */
  if (options->window != VRAM_MAPPING_NO)
    shed_set_up_memory ();
  if (!adopted && scrub (vram) == -1) {
    log_error ("the GPU's VRAM cannot be overwritten");
    goto err_window;
  }
  if (gpu_check_begin (&vram->check, &vram->cuda, vram->lanes) == -1)
    goto err_check;
  return vram;

err_check:
  gpu_check_end (&vram->check);
err_window:
  close_mapping (vram);
err_lanes:
  dma_free (vram->lanes);
err_chunks:
  chunks_free (&vram->chunks);
err_cuda:
  cuda_close (&vram->cuda);
err_vram:
  free (vram);
  return NULL;
}

struct vram *
vram_open (const struct vram_options *options)
{
  struct vram *vram;

  watchdog_enter ();
  vram = open_vram (options);
  watchdog_leave ();
  return vram;
}

void
vram_overwrite (struct vram *vram)
{
  if (vram->scrub && scrub (vram) == -1)
    log_error ("VRAM could not be overwritten before it is given back");
  watchdog_leave ();
}

void
vram_close (struct vram *vram, bool keep)
{
  if (vram == NULL)
    return;
  if (!keep)
    vram_overwrite (vram);
  watchdog_enter ();
  gpu_check_end (&vram->check);
  close_mapping (vram);
  watchdog_enter ();
  dma_free (vram->lanes);
  chunks_free (&vram->chunks);
  cuda_close (&vram->cuda);
  watchdog_leave ();
  free (vram);
}

void
vram_describe (const struct vram *vram, struct superblock_header *header)
{
  *header = (struct superblock_header){
    .disk_size = vram->chunks.size,
    .asked = vram->asked,
    .allocated = vram->chunks.allocated,
    .chunk_size = vram->chunks.chunk_size,
    .chunk_count = (uint32_t) vram->chunks.count,
  };
  memcpy (header->gpu, vram->gpu.uuid_bytes, sizeof header->gpu);
}

void
vram_save_limits (const struct vram *vram, struct superblock *superblock)
{
  const struct copy_limits *found = &vram->route.found;

  if (vram->window == NULL)
    return;
  atomic_store (&superblock->shared->read_max, found->read_max);
  atomic_store (&superblock->shared->read_max_rested, found->read_max_rested);
  atomic_store (&superblock->shared->write_max, found->write_max);
  atomic_store (&superblock->shared->limits_known, 1);
}

const struct chunks *
vram_chunks (const struct vram *vram)
{
  return &vram->chunks;
}

uint64_t
vram_size (const struct vram *vram)
{
  return vram->chunks.size;
}

bool
vram_is_lost (const struct vram *vram)
{
  return cuda_is_lost (&vram->cuda);
}

int
vram_check (struct vram *vram)
{
  return gpu_check (&vram->check);
}

const struct device *
vram_gpu (const struct vram *vram)
{
  return &vram->gpu;
}

void
vram_say_way (const struct vram *vram, char text[VRAM_WAY])
{
  const struct copy_limits *limits = &vram->route.limits;

  if (vram_is_lost (vram))
    snprintf (text, VRAM_WAY, "fail: the GPU is lost");
  else if (vram->window == NULL)
    snprintf (text, VRAM_WAY, "by DMA alone: %s", vram->no_mapping);
  else if (!mapping_is_open (vram->window))
    snprintf (text, VRAM_WAY,
              "by DMA alone: the mapping of VRAM has failed (SIGBUS)");
  else if (limits->read_max_rested == 0 && limits->write_max == 0)
    snprintf (text, VRAM_WAY,
              "by DMA alone: nothing is faster by the window, or may use it");
  else
    snprintf (text, VRAM_WAY, "by window");
}

int
vram_read (struct vram *vram, void *buf, size_t count, uint64_t offset)
{
  return copy_read (&vram->route, buf, count, offset);
}

int
vram_write (struct vram *vram, const void *buf, size_t count, uint64_t offset)
{
  return copy_write (&vram->route, buf, count, offset);
}
