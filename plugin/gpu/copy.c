/* nbdkit-vram: which way each copy goes, by the window or by a lane
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/clock.h"
#include "debug.h"
#include "gpu/copy.h"
#include "common/units.h"

/* After so long without work for a lane, the GPU counts as rested.  Set-up lets
 * it rest for REST_TRY_US to see what that costs.
 */
#define REST_NS     10000000
#define REST_TRY_US 11000

/* How long set-up goes on to larger sizes, and how often it tries each. */
#define TRY_NS  15000000
#define REPEATS 5

/* The window wins where it takes no more than 21/20 of a lane's time: it leaves
 * the lanes, the driver and the GPU's engines to others.
 */
#define IS_BETTER(window_ns, lane_ns) ((window_ns) *20 <= (lane_ns) *21)

/* What is written to prove that both ways reach the same bytes. */
#define TOKEN 64

enum way { WINDOW, LANE };
enum direction { READ, WRITE };

/* Sizes to try, in bytes. */
static const uint32_t read_sizes[] = {
  4 * KiB, 8 * KiB, 16 * KiB, 32 * KiB, 64 * KiB, 128 * KiB,
};
static const uint32_t write_sizes[] = {
  4 * KiB, 16 * KiB, 64 * KiB, 256 * KiB, 1024 * KiB,
};
#define SIZES_MAX      6
#define LARGEST_SIZE   (1024 * KiB)
#define COUNT_OF(list) (sizeof (list) / sizeof (list)[0])

/* What copies of SIZE bytes took, each way. */
struct sample {
  uint32_t size;
  uint64_t ns[2];
};

/* The samples that time allowed; ALL if it allowed all. */
struct samples {
  unsigned count;
  bool all;
  struct sample sample[SIZES_MAX];
};

void
copy_init (struct copier *route, struct dma_queues *lanes,
           const struct chunks *chunks)
{
  route->cuda = chunks->cuda;
  route->lanes = lanes;
  route->base = chunks->base;
  route->window = NULL;
  route->found = route->limits = (struct copy_limits){ 0 };
  atomic_init (&route->last_large, 0);
}

/*
 * Proving.
 */

/* Bytes that no other place is given, and never a line of ones. */
static void
make_token (uint64_t seed, char token[TOKEN])
{
  uint64_t word;

  for (unsigned i = 0; i < TOKEN; i += sizeof word) {
    seed += UINT64_C (0x9e3779b97f4a7c15);
    word = (seed ^ (seed >> 31)) * UINT64_C (0xbf58476d1ce4e5b9);
    memcpy (token + i, &word, sizeof word);
  }
}

/* The beginning and the end of each chunk; returns how many places that are. */
static size_t
ends_of_chunks (const struct chunks *chunks, uint64_t places[2 * CHUNKS_MAX])
{
  size_t n = 0;

  for (size_t i = 0; i < chunks->count; ++i) {
    const struct chunk *chunk = &chunks->chunk[i];

    places[n++] = chunk->offset;
    places[n++] = chunk->offset + chunk->size - TOKEN;
  }
  return n;
}

/* Write other bytes to each of COUNT places by one way and look at them by the
 * other.  Each is written before any is read, so that two places of the window
 * that are one place of VRAM do not go unnoticed.  Returns 0, 1 when they do not
 * agree, -1 when a lane does not work.
 */
static int
prove (struct copier *route, struct mapping *window, const uint64_t *places,
       size_t count, enum way writer)
{
  char token[TOKEN], seen[TOKEN];
  uint64_t offset;
  int r;

  for (size_t i = 0; i < count; ++i) {
    offset = places[i];
    make_token (2 * i + writer, token);
    if (writer == LANE)
      r = dma_write (route->lanes, route->base + offset, token, TOKEN);
    else if (mapping_write (window, offset, token, TOKEN) == -1)
      return 1;
    else
      r = 0;
    if (r == -1)
      return -1;
  }
  for (size_t i = 0; i < count; ++i) {
    offset = places[i];
    make_token (2 * i + writer, token);
    memset (seen, 0, TOKEN);
    if (writer == WINDOW)
      r = dma_read (route->lanes, seen, route->base + offset, TOKEN);
    else if (mapping_read (window, seen, offset, TOKEN) == -1)
      return 1;
    else
      r = 0;
    if (r == -1)
      return -1;
    if (memcmp (seen, token, TOKEN) != 0)
      return 1;
  }
  return 0;
}

/* Look at COUNT places by both ways.  Returns as prove does. */
static int
compare (struct copier *route, struct mapping *window, const uint64_t *places,
         size_t count)
{
  char by_window[TOKEN], by_lane[TOKEN];

  for (size_t i = 0; i < count; ++i) {
    if (dma_read (route->lanes, by_lane, route->base + places[i], TOKEN) == -1)
      return -1;
    if (mapping_read (window, by_window, places[i], TOKEN) == -1) {
      if (!mapping_is_open (window))
        return 1;
      /* A line of ones, which the window never vouches for. */
      continue;
    }
    if (memcmp (by_window, by_lane, TOKEN) != 0)
      return 1;
  }
  return 0;
}

/*
 * Trying.
 */

/* Copy SIZE bytes between BUF and offset 0, and store how long that took.
 * Returns 0, 1 when the window does not work, -1 when a lane does not.
 */
static int
try_copy (struct copier *route, struct mapping *window, enum way way,
          enum direction direction, char *buf, size_t size, uint64_t *ns)
{
  uint64_t start = clock_ns ();
  int r;

  if (way == WINDOW)
    r = direction == READ ? mapping_read (window, buf, 0, size)
                          : mapping_write (window, 0, buf, size);
  else
    r = direction == READ ? dma_read (route->lanes, buf, route->base, size)
                          : dma_write (route->lanes, route->base, buf, size);
  *ns = clock_ns () - start;
  if (r == -1 && way == WINDOW)
    return 1;
  return r;
}

static int
compare_ns (const void *a, const void *b)
{
  const uint64_t *x = a, *y = b;

  return (*x > *y) - (*x < *y);
}

/* As that, several times; stores the median. */
static int
try_often (struct copier *route, struct mapping *window, enum way way,
           enum direction direction, char *buf, size_t size, uint64_t *ns)
{
  uint64_t took[REPEATS];
  int r;

  for (unsigned i = 0; i < REPEATS; ++i) {
    r = try_copy (route, window, way, direction, buf, size, &took[i]);
    if (r != 0)
      return r;
  }
  qsort (took, REPEATS, sizeof took[0], compare_ns);
  *ns = took[REPEATS / 2];
  return 0;
}

static int
try_sizes (struct copier *route, struct mapping *window, const uint32_t *sizes,
           unsigned count, enum direction direction, char *buf, uint64_t vram,
           struct samples *samples)
{
  uint64_t deadline = clock_ns () + TRY_NS / 2;
  int r;

  samples->count = 0;
  samples->all = true;
  for (unsigned i = 0; i < count && sizes[i] <= vram; ++i) {
    struct sample *sample = &samples->sample[i];

    if (i > 0 && clock_ns () > deadline) {
      samples->all = false;
      break;
    }
    sample->size = sizes[i];
    for (enum way way = WINDOW; way <= LANE; ++way) {
      r = try_often (route, window, way, direction, buf, sizes[i],
                     &sample->ns[way]);
      if (r != 0)
        return r;
    }
    samples->count++;
    log_debug ("window: %s of %s: %.1f us by the window, %.1f us by a lane",
               direction == READ ? "read" : "write", SIZE_STR (sizes[i]),
               (double) sample->ns[WINDOW] / 1000,
               (double) sample->ns[LANE] / 1000);
  }
  return 0;
}

/* Let the GPU rest and see how much longer than in the first sample each way
 * takes then.  Of two tries of a lane the quicker one counts.
 */
static int
try_rested (struct copier *route, struct mapping *window, char *buf,
            const struct sample *first, uint64_t extra[2])
{
  static const enum way ways[] = { LANE, WINDOW, LANE };
  uint64_t ns, best[2] = { UINT64_MAX, UINT64_MAX };
  int r;

  for (unsigned i = 0; i < COUNT_OF (ways); ++i) {
    enum way way = ways[i];

    clock_sleep_us (REST_TRY_US);
    r = try_copy (route, window, way, READ, buf, first->size, &ns);
    if (r != 0)
      return r;
    if (ns < best[way])
      best[way] = ns;
  }
  for (enum way way = WINDOW; way <= LANE; ++way)
    extra[way] = best[way] > first->ns[way] ? best[way] - first->ns[way] : 0;
  log_debug ("window: read of %s after a rest: %.1f us by the window, "
             "%.1f us by a lane",
             SIZE_STR (first->size), (double) best[WINDOW] / 1000,
             (double) best[LANE] / 1000);
  return 0;
}

/* Where a window that won all samples, the last one by GAIN ns, loses if both
 * ways go on as from the last but one to the last; UINT64_MAX: nowhere.
 */
static uint64_t
go_on (const struct samples *samples, uint64_t gain)
{
  const struct sample *last, *before;
  double window, lane;

  if (samples->count < 2)
    return samples->count == 1 ? samples->sample[0].size : 0;
  last = &samples->sample[samples->count - 1];
  before = last - 1;
  /* What a byte more costs, in ns; of noise it may be less than nothing. */
  window = ((double) last->ns[WINDOW] - (double) before->ns[WINDOW]) /
           (last->size - before->size);
  lane = ((double) last->ns[LANE] - (double) before->ns[LANE]) /
         (last->size - before->size);
  if (window <= lane)
    return UINT64_MAX;
  return last->size + (uint64_t) ((double) gain / (window - lane));
}

/* The size up to which the window wins when copies by it take EXTRA[WINDOW]
 * longer than in the samples, and by a lane EXTRA[LANE]; a multiple of 4 KiB,
 * UINT64_MAX when it always wins.
 */
static uint64_t
crossover (const struct samples *samples, const uint64_t extra[2])
{
  uint64_t window, lane, won = 0, gain = 0, loss;

  for (unsigned i = 0; i < samples->count; ++i) {
    const struct sample *sample = &samples->sample[i];

    window = sample->ns[WINDOW] + extra[WINDOW];
    lane = sample->ns[LANE] + extra[LANE];
    if (!IS_BETTER (window, lane)) {
      /* Between the last size that won and the first that did not. */
      loss = window - lane;
      won += (sample->size - won) * gain / (gain + loss);
      return ROUND_DOWN (won, 4 * KiB);
    }
    won = sample->size;
    gain = lane > window ? lane - window : 0;
  }
  if (!samples->all)
    return won;
  won = go_on (samples, gain);
  return won == UINT64_MAX ? won : ROUND_DOWN (won, 4 * KiB);
}

static int
calibrate (struct copier *route, struct mapping *window, uint64_t vram,
           char *buf)
{
  struct samples reads = { 0 }, writes = { 0 };
  uint64_t extra[2] = { 0, 0 };
  int r;

  r = try_sizes (route, window, write_sizes, COUNT_OF (write_sizes), WRITE,
                 buf, vram, &writes);
  if (r != 0)
    return r;
  route->found.write_max = crossover (&writes, extra);
  /* Whatever the tries left out, so that no read meets a line of ones. */
  if (dma_write (route->lanes, route->base, buf,
                 vram < LARGEST_SIZE ? vram : LARGEST_SIZE) == -1)
    return -1;
  r = try_sizes (route, window, read_sizes, COUNT_OF (read_sizes), READ, buf,
                 vram, &reads);
  if (r != 0)
    return r;
  route->found.read_max = crossover (&reads, extra);
  r = try_rested (route, window, buf, &reads.sample[0], extra);
  if (r != 0)
    return r;
  route->found.read_max_rested = crossover (&reads, extra);
  if (route->found.read_max_rested < route->found.read_max)
    route->found.read_max_rested = route->found.read_max;
  return 0;
}

/* A limit for people. */
static const char *
limit_text (uint64_t bytes, char text[SIZE_TEXT])
{
  if (bytes == UINT64_MAX)
    return "any size";
  return size_text (bytes, text);
}

static void
say_why (const struct mapping *window, char reason[MAPPING_REASON])
{
  snprintf (reason, MAPPING_REASON, "%s",
            mapping_is_open (window)
                ? "the mapping does not show what the GPU sees"
                : "the mapping of VRAM fails (SIGBUS)");
}

/* From here on WINDOW is used. */
static void
use_window (struct copier *route, struct mapping *window,
            const uint64_t *read_max, uint64_t start)
{
  struct copy_limits *limits = &route->limits;
  char text[3][SIZE_TEXT];

  *limits = route->found;
  if (read_max)
    limits->read_max = limits->read_max_rested = *read_max;
  if (vram_debug_window_write_max != 0)
    limits->write_max = vram_debug_window_write_max < 0
                            ? 0
                            : (uint64_t) vram_debug_window_write_max;
  route->window = window;
  log_debug ("window: serves writes of up to %s, reads of up to %s, or %s "
             "when the GPU has rested; tried in %" PRIu64 " ms",
             limit_text (limits->write_max, text[0]),
             limit_text (limits->read_max, text[1]),
             limit_text (limits->read_max_rested, text[2]),
             clock_ms () - start);
}

int
copy_add_mapping (struct copier *route, struct mapping *window,
                  const struct chunks *chunks, const uint64_t *read_max,
                  char reason[MAPPING_REASON])
{
  uint64_t places[2 * CHUNKS_MAX], start = clock_ms ();
  size_t count = ends_of_chunks (chunks, places);
  char *buf;
  int r;

  /* Content does not matter, other than that it is no line of ones. */
  buf = calloc (1, LARGEST_SIZE);
  if (buf == NULL) {
    snprintf (reason, MAPPING_REASON, "calloc: out of memory");
    return 1;
  }
  memset (buf, 1, LARGEST_SIZE);
  r = prove (route, window, places, count, LANE);
  if (r == 0)
    r = prove (route, window, places, count, WINDOW);
  if (r == 0)
    r = calibrate (route, window, chunks->size, buf);
  free (buf);
  if (r == 1)
    say_why (window, reason);
  if (r == 0)
    use_window (route, window, read_max, start);
  return r;
}

int
copy_adopt_mapping (struct copier *route, struct mapping *window,
                    const struct chunks *chunks, const uint64_t *free,
                    size_t count, const struct copy_limits *limits,
                    const uint64_t *read_max, char reason[MAPPING_REASON])
{
  static const struct copy_limits usual = {
    .read_max = 8 * KiB,
    .read_max_rested = 32 * KiB,
    .write_max = 256 * KiB,
  };
  uint64_t places[2 * CHUNKS_MAX], start = clock_ms ();
  size_t ends = ends_of_chunks (chunks, places);
  int r;

  r = compare (route, window, places, ends);
  if (r == 0)
    r = prove (route, window, free, count, LANE);
  if (r == 0)
    r = prove (route, window, free, count, WINDOW);
  if (r == 1)
    say_why (window, reason);
  if (r != 0)
    return r;
  route->found = limits ? *limits : usual;
  use_window (route, window, read_max, start);
  return 0;
}

/*
 * Routing.
 */

/* For tests: which way is left to chance. */
static bool
heads (void)
{
  static _Atomic uint64_t tosses;
  uint64_t n = atomic_fetch_add_explicit (&tosses, 1, memory_order_relaxed);

  n *= UINT64_C (0x9e3779b97f4a7c15);
  n ^= n >> 29;
  n *= UINT64_C (0xbf58476d1ce4e5b9);
  return n >> 63;
}

static void
note_large (struct copier *route, uint64_t now)
{
  atomic_store_explicit (&route->last_large, now, memory_order_relaxed);
}

/* Whether there is a window to ask at all. */
static bool
has_window (const struct copier *route)
{
  return route->window && mapping_is_open (route->window) &&
         !cuda_is_lost (route->cuda);
}

static bool
read_by_window (struct copier *route, size_t count)
{
  uint64_t now, last;

  if (!has_window (route))
    return false;
  if (vram_debug_random_path)
    return heads ();
  if (count <= route->limits.read_max)
    return true;
  if (count > route->limits.read_max_rested)
    return false;
  now = clock_ns ();
  last = atomic_load_explicit (&route->last_large, memory_order_relaxed);
  /* Another thread's clock_ns may be later than this one's. */
  if (now < last + REST_NS)
    return false;
  note_large (route, now);
  return true;
}

static bool
write_by_window (struct copier *route, size_t count)
{
  if (!has_window (route))
    return false;
  if (vram_debug_random_path)
    return heads ();
  return count <= route->limits.write_max;
}

/* A lane has been used; of interest only where a rest makes a difference. */
static void
note_lane (struct copier *route)
{
  if (route->limits.read_max_rested > route->limits.read_max)
    note_large (route, clock_ns ());
}

int
copy_read (struct copier *route, void *buf, size_t count, uint64_t offset)
{
  int r;

  if (read_by_window (route, count) &&
      mapping_read (route->window, buf, offset, count) == 0)
    return 0;
  r = dma_read (route->lanes, buf, route->base + offset, count);
  note_lane (route);
  return r;
}

int
copy_write (struct copier *route, const void *buf, size_t count,
            uint64_t offset)
{
  int r;

  if (write_by_window (route, count) &&
      mapping_write (route->window, offset, buf, count) == 0)
    return 0;
  r = dma_write (route->lanes, route->base + offset, buf, count);
  note_lane (route);
  return r;
}
