/* nbdkit-vram: checks the mapping, and measures when it is faster
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"
#include "gpu/calibrate.h"

/* Stop after this time, and copy each size this often. */
#define TRY_NS  7500000
#define REPEATS 5

/* The mapping wins if it takes up to 5 % longer than DMA, because it needs no
 * DMA queue, no driver call and no engine of the GPU.
 */
#define WINS(mapping_ns, dma_ns) ((mapping_ns) *20 <= (dma_ns) *21)

/* Bytes to write to check that both paths reach the same place. */
#define TOKEN 64

enum path { MAPPING, DMA };
enum direction { READ, WRITE };

/* Sizes to try, in bytes. */
static const uint32_t read_sizes[] = {
  4 * KiB, 8 * KiB, 16 * KiB, 32 * KiB, 64 * KiB, 128 * KiB,
};
static const uint32_t write_sizes[] = {
  4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, CALIBRATE_BYTES,
};
#define SIZES_MAX      6
#define COUNT_OF(list) (sizeof (list) / sizeof (list)[0])

const struct copy_limits calibrate_usual = {
  .read_max = 8 * KiB,
  .read_max_rested = 32 * KiB,
  .write_max = 256 * KiB,
};

/* How long a copy of SIZE bytes took by each path. */
struct sample {
  uint32_t size;
  uint64_t ns[2];
};

/* Store the reason, and return 1. */
static int
refuse (const struct copier *copier, char reason[PROVIDER_REASON])
{
  snprintf (reason, PROVIDER_REASON, "%s",
            mapping_is_open (copier->mapping)
                ? "window and DMA do not see the same bytes"
                : "the window has failed (SIGBUS)");
  return 1;
}

/* Copy by PATH.  Returns 0, 1 if the mapping fails, or -1 if DMA fails. */
static int
copy (struct copier *copier, const struct cuda_chunk *chunk, enum path path,
      enum direction direction, uint64_t offset, char *buf, size_t count)
{
  if (path == DMA)
    return direction == READ
               ? dma_read (copier->queues, buf, chunk->address + offset, count)
               : dma_write (copier->queues, chunk->address + offset, buf,
                            count);
  return direction == READ ? -mapping_read (copier->mapping, &chunk->mapping,
                                            buf, offset, count)
                           : -mapping_write (copier->mapping, &chunk->mapping,
                                             offset, buf, count);
}

/*
 * Proving.
 */

/* Fill TOKEN with bytes that no other place holds. */
static void
make_token (char token[TOKEN])
{
  static _Atomic uint64_t serial;
  uint64_t seed = clock_ns () + atomic_fetch_add (&serial, 1), word;

  for (unsigned i = 0; i < TOKEN; i += sizeof word) {
    seed += UINT64_C (0x9e3779b97f4a7c15);
    word = (seed ^ (seed >> 31)) * UINT64_C (0xbf58476d1ce4e5b9);
    memcpy (token + i, &word, sizeof word);
  }
}

/* Write by one path, read by the other, and the other way round. */
static int
prove_place (struct copier *copier, const struct cuda_chunk *chunk,
             uint64_t offset)
{
  char token[TOKEN], seen[TOKEN];
  int r;

  for (enum path writer = MAPPING; writer <= DMA; ++writer) {
    make_token (token);
    memset (seen, 0, TOKEN);
    r = copy (copier, chunk, writer, WRITE, offset, token, TOKEN);
    if (r == 0)
      r = copy (copier, chunk, !writer, READ, offset, seen, TOKEN);
    if (r != 0)
      return r;
    if (memcmp (seen, token, TOKEN) != 0)
      return 1;
  }
  return 0;
}

/* Read by both paths. */
static int
compare_place (struct copier *copier, const struct cuda_chunk *chunk,
               uint64_t offset)
{
  char seen[2][TOKEN];
  int r;

  for (enum path path = MAPPING; path <= DMA; ++path) {
    r = copy (copier, chunk, path, READ, offset, seen[path], TOKEN);
    if (r != 0)
      return r;
  }
  return memcmp (seen[MAPPING], seen[DMA], TOKEN) != 0;
}

int
prove_mapping (struct copier *copier, const struct cuda_chunk *chunk,
               uint64_t spare, char reason[PROVIDER_REASON])
{
  const uint64_t ends[] = { 0, chunk->chunk.size - TOKEN };
  int r = 0;

  for (unsigned i = 0; r == 0 && i < COUNT_OF (ends); ++i)
    r = spare == SPARE_ALL ? prove_place (copier, chunk, ends[i])
                           : compare_place (copier, chunk, ends[i]);
  if (r == 0 && spare < SPARE_NONE)
    r = prove_place (copier, chunk, spare);
  return r == 1 ? refuse (copier, reason) : r;
}

/*
 * Measuring.
 */

static int
compare_ns (const void *a, const void *b)
{
  const uint64_t *x = a, *y = b;

  return (*x > *y) - (*x < *y);
}

/* Copy SIZE bytes REPEATS times and store the median of the times. */
static int
try_copies (struct copier *copier, const struct cuda_chunk *chunk,
            enum path path, enum direction direction, char *buf, size_t size,
            unsigned repeats, uint64_t *ns)
{
  uint64_t took[REPEATS], start;
  int r;

  for (unsigned i = 0; i < repeats; ++i) {
    start = clock_ns ();
    r = copy (copier, chunk, path, direction, 0, buf, size);
    if (r != 0)
      return r;
    took[i] = clock_ns () - start;
  }
  /* cppcheck-suppress uninitvar ; there is at least one */
  qsort (took, repeats, sizeof took[0], compare_ns);
  *ns = took[repeats / 2];
  return 0;
}

/* Measure SAMPLES, as many as time allows.  The list ends with size 0. */
static int
try_sizes (struct copier *copier, const struct cuda_chunk *chunk,
           enum direction direction, char *buf, const uint32_t *sizes,
           size_t count, struct sample samples[SIZES_MAX + 1])
{
  uint64_t deadline = clock_ns () + TRY_NS;
  struct sample *sample = samples;
  int r;

  for (size_t i = 0; i < count && (i == 0 || clock_ns () < deadline); ++i) {
    sample->size = sizes[i];
    for (enum path path = MAPPING; path <= DMA; ++path) {
      r = try_copies (copier, chunk, path, direction, buf, sizes[i], REPEATS,
                      &sample->ns[path]);
      if (r != 0)
        return r;
    }
    log_debug ("mapping: %s of %s: %.1f us, %.1f us by DMA",
               direction == READ ? "read" : "write", SIZE_STR (sizes[i]),
               (double) sample->ns[MAPPING] / 1000,
               (double) sample->ns[DMA] / 1000);
    ++sample;
  }
  sample->size = 0;
  return 0;
}

/* Let the GPU rest, and store how much longer than in SAMPLE each path takes
 * afterwards.  The faster of two tries of DMA counts.
 */
static int
try_rested (struct copier *copier, const struct cuda_chunk *chunk, char *buf,
            const struct sample *sample, uint64_t extra[2])
{
  static const enum path paths[] = { DMA, MAPPING, DMA };
  uint64_t ns, best[2] = { UINT64_MAX, UINT64_MAX };
  int r;

  for (unsigned i = 0; i < COUNT_OF (paths); ++i) {
    clock_sleep_us (COPY_REST_NS / 1000 + 1000);
    r = try_copies (copier, chunk, paths[i], READ, buf, sample->size, 1, &ns);
    if (r != 0)
      return r;
    if (ns < best[paths[i]])
      best[paths[i]] = ns;
  }
  for (enum path path = MAPPING; path <= DMA; ++path)
    extra[path] =
        best[path] > sample->ns[path] ? best[path] - sample->ns[path] : 0;
  log_debug ("mapping: read of %s after a rest: %.1f us, %.1f us by DMA",
             SIZE_STR (sample->size), (double) best[MAPPING] / 1000,
             (double) best[DMA] / 1000);
  return 0;
}

/* The largest size up to which the mapping wins for all sizes, if copies take
 * EXTRA longer than in SAMPLES.  0 if none.
 */
static uint64_t
largest_win (const struct sample *samples, const uint64_t extra[2])
{
  uint64_t won = 0;

  for (; samples->size > 0; ++samples) {
    if (!WINS (samples->ns[MAPPING] + extra[MAPPING],
               samples->ns[DMA] + extra[DMA]))
      break;
    won = samples->size;
  }
  return won;
}

static int
measure (struct copier *copier, const struct cuda_chunk *chunk, char *buf,
         struct copy_limits *limits)
{
  struct sample samples[SIZES_MAX + 1];
  uint64_t extra[2] = { 0, 0 };
  int r;

  r = try_sizes (copier, chunk, WRITE, buf, write_sizes,
                 COUNT_OF (write_sizes), samples);
  if (r != 0)
    return r;
  limits->write_max = largest_win (samples, extra);
  r = try_sizes (copier, chunk, READ, buf, read_sizes, COUNT_OF (read_sizes),
                 samples);
  if (r != 0)
    return r;
  limits->read_max = largest_win (samples, extra);
  r = try_rested (copier, chunk, buf, &samples[0], extra);
  if (r != 0)
    return r;
  limits->read_max_rested = largest_win (samples, extra);
  if (limits->read_max_rested < limits->read_max)
    limits->read_max_rested = limits->read_max;
  return 0;
}

int
calibrate (struct copier *copier, const struct cuda_chunk *chunk,
           struct copy_limits *limits, char reason[PROVIDER_REASON])
{
  char *buf = calloc (1, CALIBRATE_BYTES);
  int r;

  if (buf == NULL) {
    snprintf (reason, PROVIDER_REASON, "calloc: out of memory");
    return 1;
  }
  r = measure (copier, chunk, buf, limits);
  free (buf);
  return r == 1 ? refuse (copier, reason) : r;
}
