/* nbdkit-vram: tries whether the window and the lanes agree on what VRAM holds
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Threads in pairs hand pieces of VRAM to and fro: one writes by the window or
 * by a lane, tells the other, and that one reads by the window or by a lane
 * what it has to find there.  Every mix, with sizes and alignments of all
 * kinds, on two CPUs or on one.  route.h says why they must agree; this program
 * tries it on the GPU that is there.
 *
 * Exit status: 0 they agreed, 1 they did not or something failed, 77 there is
 * no GPU or no window.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/cuda/chunk.h"
#include "common/clock.h"
#include "common/log.h"
#include "gpu/cuda/context.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/dma.h"
#include "gpu/vulkan/libvulkan.h"
#include "gpu/copy.h"
#include "common/units.h"
#include "gpu/wccopy.h"
#include "gpu/vulkan/mapping.h"

#define PAIRS_MAX   32
#define AREA        (512 * KiB) /* of VRAM, each pair's own */
#define LARGEST     (128 * KiB) /* of one copy */
#define SKIP        77
#define RESTS       10
#define REST_PROBES 5

enum way { WINDOW, LANE };
static const char *const way_names[] = { "window", "lane" };

static struct devices gpus;
static struct cuda cuda;
static struct chunks chunks;
static struct dma_queues *lanes;
static struct mapping *window;
static struct copier route;

/* Results: copies written by one way and read by another, [writer][reader]. */
static _Atomic uint64_t rounds[2][2], mismatches[2][2], refused;

static void __attribute__ ((noreturn, format (printf, 2, 3)))
give_up (int status, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fputc ('\n', stderr);
  exit (status);
}

/* One hand-over. */
struct piece {
  uint64_t offset;
  uint32_t count;
  uint32_t serial; /* what was written follows from it */
  enum way writer;
};

struct pair {
  pthread_t threads[2];
  uint64_t base;  /* of its area */
  uint64_t until; /* clock_ns */
  uint64_t number;

  /* Odd: a piece has been written and is to be read; even: it has been. */
  _Atomic uint32_t turn;
  atomic_bool over;
  struct piece piece;
};

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* What a piece holds: other bytes for every piece and place, never a line of
 * ones.
 */
static void
fill (unsigned char *buf, const struct piece *piece)
{
  uint64_t word = piece->serial * UINT64_C (0x9e3779b97f4a7c15);

  for (uint32_t i = 0; i < piece->count; ++i) {
    if (i % 8 == 0)
      word = (word ^ (word >> 29)) * UINT64_C (0xbf58476d1ce4e5b9) + 1;
    buf[i] = (unsigned char) (word >> (i % 8 * 8)) & 0x7f;
  }
}

/* Returns whether it was done by WAY: the window may refuse. */
static bool
copy (enum way way, bool write, void *buf, uint64_t offset, size_t count)
{
  int r;

  if (way == WINDOW) {
    r = write ? mapping_write (window, offset, buf, count)
              : mapping_read (window, buf, offset, count);
    if (r == -1)
      atomic_fetch_add (&refused, 1);
    return r == 0;
  }
  r = write ? dma_write (lanes, chunks.base + offset, buf, count)
            : dma_read (lanes, buf, chunks.base + offset, count);
  if (r == -1)
    give_up (1, "a lane failed");
  return true;
}

static void
choose_piece (const struct pair *pair, struct piece *piece, uint64_t *state)
{
  uint64_t random = next_random (state);

  /* Half of them pages, as swap has them. */
  if (random % 2) {
    piece->count = 4 * KiB;
    piece->offset = pair->base + (random >> 8) % (AREA / (4 * KiB)) * 4 * KiB;
  }
  else {
    piece->count =
        1 + (uint32_t) ((random >> 8) %
                        (random & 4 ? LARGEST : (random & 8 ? 300 : 9000)));
    piece->offset =
        pair->base + next_random (state) % (AREA - piece->count + 1);
  }
  piece->serial++;
  piece->writer = next_random (state) & 1 ? WINDOW : LANE;
}

static void
check_piece (const struct piece *piece, enum way reader, unsigned char *seen,
             unsigned char *expected)
{
  uint32_t i = 0;

  memset (seen, 0xee, piece->count);
  if (!copy (reader, false, seen, piece->offset, piece->count))
    return;
  fill (expected, piece);
  atomic_fetch_add (&rounds[piece->writer][reader], 1);
  while (i < piece->count && seen[i] == expected[i])
    ++i;
  if (i == piece->count)
    return;
  if (atomic_fetch_add (&mismatches[piece->writer][reader], 1) < 10)
    fprintf (stderr,
             "written by the %s, read by the %s: %u bytes at 0x%llx differ "
             "from byte %u on: 0x%02x instead of 0x%02x\n",
             way_names[piece->writer], way_names[reader], piece->count,
             (unsigned long long) piece->offset, i, seen[i], expected[i]);
}

/* Wait until it is the turn of who comes when the lowest bit is BIT. */
static bool
wait_turn (struct pair *pair, uint32_t bit)
{
  for (unsigned n = 0;; ++n) {
    if ((atomic_load_explicit (&pair->turn, memory_order_acquire) & 1) == bit)
      return true;
    if (atomic_load (&pair->over))
      return false;
    /* Quickly, so that what is late is met, but not for ever. */
    if (n > 2000)
      usleep (50);
  }
}

static unsigned char *
buffer (void)
{
  unsigned char *p = calloc (1, LARGEST);

  if (p == NULL)
    give_up (1, "calloc: %s", strerror (errno));
  return p;
}

static void *
write_pieces (void *arg)
{
  struct pair *pair = arg;
  uint64_t state = (pair->number + 1) * UINT64_C (0x9e3779b97f4a7c15);
  unsigned char *buf = buffer (), *seen = buffer ();

  while (clock_ns () < pair->until && wait_turn (pair, 0)) {
    choose_piece (pair, &pair->piece, &state);
    fill (buf, &pair->piece);
    if (!copy (pair->piece.writer, true, buf, pair->piece.offset,
               pair->piece.count))
      break;
    /* By the thread that wrote, or by the other. */
    if (next_random (&state) % 4 == 0)
      check_piece (&pair->piece, next_random (&state) & 1 ? WINDOW : LANE,
                   seen, buf);
    else
      atomic_fetch_add_explicit (&pair->turn, 1, memory_order_release);
  }
  atomic_store (&pair->over, true);
  free (buf);
  free (seen);
  return NULL;
}

static void *
read_pieces (void *arg)
{
  struct pair *pair = arg;
  uint64_t state = ~(pair->number * UINT64_C (0x9e3779b97f4a7c15));
  unsigned char *buf = buffer (), *seen = buffer ();

  while (wait_turn (pair, 1)) {
    check_piece (&pair->piece, next_random (&state) & 1 ? WINDOW : LANE, seen,
                 buf);
    atomic_fetch_add_explicit (&pair->turn, 1, memory_order_release);
  }
  free (buf);
  free (seen);
  return NULL;
}

/* Returns whether all agreed. */
static bool
try_coherence (double seconds, unsigned count)
{
  static struct pair pairs[PAIRS_MAX];
  uint64_t until = clock_ns () + (uint64_t) (seconds * 1e9);
  bool agreed = true;

  for (unsigned i = 0; i < count; ++i) {
    pairs[i].number = i;
    pairs[i].until = until;
    /* Spread over the chunks; every other area lies across two chunks. */
    pairs[i].base = i * chunks.chunk_size / 2;
    if (i % 2 == 0 && i > 0)
      pairs[i].base -= AREA / 2;
    if (pthread_create (&pairs[i].threads[0], NULL, write_pieces, &pairs[i]) ||
        pthread_create (&pairs[i].threads[1], NULL, read_pieces, &pairs[i]))
      give_up (1, "pthread_create failed");
  }
  for (unsigned i = 0; i < count; ++i) {
    pthread_join (pairs[i].threads[0], NULL);
    pthread_join (pairs[i].threads[1], NULL);
  }
  for (enum way writer = WINDOW; writer <= LANE; ++writer)
    for (enum way reader = WINDOW; reader <= LANE; ++reader) {
      printf ("coherence write=%s read=%s rounds=%llu mismatches=%llu\n",
              way_names[writer], way_names[reader],
              (unsigned long long) rounds[writer][reader],
              (unsigned long long) mismatches[writer][reader]);
      if (mismatches[writer][reader] > 0 || rounds[writer][reader] == 0)
        agreed = false;
    }
  printf ("coherence refused=%llu\n", (unsigned long long) refused);
  return agreed && refused == 0;
}

/* How long one copy takes after a rest of MS; with KEEP the window is read
 * every millisecond meanwhile, by which one sees whether that keeps the GPU
 * from resting.
 */
static double
time_after_rest (unsigned ms, bool keep, enum way way, bool write,
                 size_t count, unsigned char *buf)
{
  double took[REST_PROBES], t;
  uint64_t start;
  unsigned i, j;

  for (i = 0; i < REST_PROBES; ++i) {
    copy (LANE, false, buf, 0, 4 * KiB);
    copy (way, write, buf, 0, count);
    for (j = 0; j < ms; ++j) {
      if (keep)
        copy (WINDOW, false, buf, AREA, 4 * KiB);
      clock_sleep_us (1000);
    }
    start = clock_ns ();
    copy (way, write, buf, 0, count);
    t = (double) (clock_ns () - start) / 1000;
    /* cppcheck-suppress uninitvar */
    for (j = i; j > 0 && took[j - 1] > t; --j)
      took[j] = took[j - 1];
    took[j] = t;
  }
  return took[REST_PROBES / 2];
}

static void
try_rests (void)
{
  static const unsigned rests[RESTS] = {
    0, 1, 2, 5, 10, 20, 50, 100, 200, 500
  };
  static const struct {
    const char *name;
    enum way way;
    bool write, keep;
    size_t count;
  } columns[] = {
    { "w-read-4K", WINDOW, false, false, 4 * KiB },
    { "l-read-4K", LANE, false, false, 4 * KiB },
    { "w-read-32K", WINDOW, false, false, 32 * KiB },
    { "l-read-32K", LANE, false, false, 32 * KiB },
    { "w-write-4K", WINDOW, true, false, 4 * KiB },
    { "l-write-4K", LANE, true, false, 4 * KiB },
    { "l-read-4K/kept", LANE, false, true, 4 * KiB },
  };
  unsigned char *buf = buffer ();

  memset (buf, 1, LARGEST);
  copy (LANE, true, buf, 0, LARGEST);
  copy (LANE, true, buf, AREA, LARGEST);
  printf ("median us after a rest; /kept: the window was read meanwhile\n");
  printf ("%8s", "rest-ms");
  for (size_t c = 0; c < sizeof columns / sizeof columns[0]; ++c)
    printf (" %14s", columns[c].name);
  printf ("\n");
  for (unsigned i = 0; i < RESTS; ++i) {
    printf ("%8u", rests[i]);
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; ++c)
      printf (" %14.1f",
              time_after_rest (rests[i], columns[c].keep, columns[c].way,
                               columns[c].write, columns[c].count, buf));
    printf ("\n");
    fflush (stdout);
  }
  free (buf);
}

static void
usage (FILE *stream)
{
  fprintf (stream,
           "Try whether the window and the lanes agree on what VRAM holds.\n"
           "usage: window-coherence [OPTION]...\n"
           "  -d SECONDS  how long (10)\n"
           "  -p PAIRS    pairs of threads (4)\n"
           "  -g GPU      which GPU, as the plugin's device=\n"
           "  -s SIZE     MiB of VRAM (256)\n"
           "  -w NAME     copy by avx512, avx2, sse4.1 or portable\n"
           "  -r          show what rests cost instead, half a minute\n"
           "  -v          say what the plugin says under debug\n");
}

static unsigned long
parse (const char *text, unsigned long least, unsigned long most)
{
  char *end;
  unsigned long value;

  errno = 0;
  value = strtoul (text, &end, 10);
  if (errno || end == text || *end || value < least || value > most)
    give_up (1, "'%s': wanted a number from %lu to %lu", text, least, most);
  return value;
}

static void
open_all (const char *spec, uint64_t size, unsigned pairs, const char *name)
{
  char reason[MAPPING_REASON];
  const struct device *gpu;
  int r;

  libvulkan_prepare ();
  if (libcuda_load () == -1)
    give_up (SKIP, "%s", libcuda_load_error ());
  if (cuda_init (0) == -1)
    give_up (SKIP, "%s", cuda_init_error ());
  if (devices_list (&gpus) == -1)
    exit (1);
  gpu = spec ? devices_find (&gpus, spec) : devices_most_free (&gpus);
  if (gpu == NULL || cuda_open (&cuda, gpu->device) == -1 ||
      chunks_allocate (&chunks, &cuda, size, size, 0) == -1)
    exit (1);
  lanes = dma_create (&cuda, pairs * 2, 256 * KiB);
  if (lanes == NULL || dma_warm_up (lanes, chunks.base) == -1)
    exit (1);
  window = mapping_open (&chunks, gpu->uuid_bytes, reason);
  if (window == NULL)
    give_up (SKIP, "no window: %s", reason);
  printf ("gpu=%s chunks=%zu copies=%s\n", gpu->name, chunks.count,
          wccopy_choose (name));
  copy_init (&route, lanes, &chunks);
  r = copy_add_mapping (&route, window, &chunks, NULL, reason);
  if (r == -1)
    exit (1);
  if (r == 1)
    give_up (1, "%s", reason);
  printf ("write-max=%llu read-max=%llu read-max-rested=%llu\n",
          (unsigned long long) route.limits.write_max,
          (unsigned long long) route.limits.read_max,
          (unsigned long long) route.limits.read_max_rested);
}

static void
close_all (void)
{
  mapping_free (window, false);
  dma_free (lanes);
  chunks_free (&chunks);
  cuda_close (&cuda);
  devices_free (&gpus);
}

int
main (int argc, char *argv[])
{
  unsigned long seconds = 10, pairs = 4, mib = 256;
  const char *gpu = NULL, *name = NULL;
  bool rests = false, agreed = true;
  int option;

  while ((option = getopt (argc, argv, "d:p:g:s:w:rvh")) != -1)
    switch (option) {
    case 'd':
      seconds = parse (optarg, 1, 3600);
      break;
    case 'p':
      pairs = parse (optarg, 1, PAIRS_MAX);
      break;
    case 'g':
      gpu = optarg;
      break;
    case 's':
      mib = parse (optarg, 16, 1UL << 20);
      break;
    case 'w':
      name = optarg;
      if (wccopy_choose (name) == NULL)
        give_up (1, "this CPU has no %s", name);
      break;
    case 'r':
      rests = true;
      break;
    case 'v':
      log_verbose = true;
      break;
    case 'h':
      usage (stdout);
      return 0;
    default:
      usage (stderr);
      return 1;
    }
  /* A driver that does not return ends the program. */
  alarm ((unsigned) seconds + 120);
  open_all (gpu, mib * MiB, (unsigned) pairs, name);
  if (pairs * chunks.chunk_size / 2 + AREA > chunks.size)
    give_up (1, "%lu pairs need more VRAM: -s %llu", pairs,
             (unsigned long long) ((pairs + 2) * chunks.chunk_size / 2 / MiB));
  if (rests)
    try_rests ();
  else
    agreed = try_coherence ((double) seconds, (unsigned) pairs);
  close_all ();
  return agreed ? 0 : 1;
}
