/* nbdkit-vram: tests that mapping and DMA see the same content of VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* In each pair of threads, one writes a piece of VRAM through the CPU's
 * mapping or by DMA, and the other one reads and checks it by either path.
 * All paths, sizes and alignments are mixed, on two CPUs and on one.  copy.h
 * explains why mapping and DMA agree.
 *
 * Exit status: 0 if they agreed, 1 if not or something failed, 77 if there is
 * no GPU or no mapping.
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
#include "gpu/calibrate.h"
#include "gpu/copy.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"
#include "common/units.h"
#include "gpu/wccopy.h"
#include "gpu/vulkan/mapping.h"

#define PAIRS_MAX   32
#define CHUNK       (64 * MiB)
#define AREA        (512 * KiB) /* of VRAM, each pair's own */
#define LARGEST     (128 * KiB) /* of one copy */
#define SKIP        77
#define RESTS       10
#define REST_PROBES 5

enum path { MAPPING, DMA };
static const char *const path_names[] = { "mapping", "dma" };

static struct devices gpus;
static struct cuda cuda;
static struct cuda_chunk *chunks;
static size_t chunk_count;
static struct copier copier;

/* Results: copies written by one path and read by another, [writer][reader].
 */
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

/* A piece that one thread writes and another one reads. */
struct piece {
  uint64_t offset;
  uint32_t count;
  uint32_t serial; /* determines the content */
  enum path writer;
};

struct pair {
  pthread_t threads[2];
  uint64_t base;  /* of its area */
  uint64_t until; /* clock_ns */
  uint64_t number;

  /* Odd: a piece has been written.  Even: it has been read. */
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

/* The content of a piece, which depends on the piece and the offset, and has
 * no line of ones.
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

/* Copies inside of a chunk.  Returns false if the mapping refuses. */
static bool
copy (enum path path, bool write, void *buf, uint64_t offset, size_t count)
{
  const struct cuda_chunk *chunk = &chunks[offset / CHUNK];
  const struct chunk_mapping *mapping = &chunk->mapping;
  int r;

  offset %= CHUNK;
  if (path == MAPPING) {
    r = write ? mapping_write (copier.mapping, mapping, offset, buf, count)
              : mapping_read (copier.mapping, mapping, buf, offset, count);
    if (r == -1)
      atomic_fetch_add (&refused, 1);
    return r == 0;
  }
  r = write ? dma_write (copier.queues, chunk->address + offset, buf, count)
            : dma_read (copier.queues, buf, chunk->address + offset, count);
  if (r == -1)
    give_up (1, "DMA failed");
  return true;
}

static void
choose_piece (const struct pair *pair, struct piece *piece, uint64_t *state)
{
  uint64_t random = next_random (state);

  /* Half of them are pages, as with swap. */
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
  piece->writer = next_random (state) & 1 ? MAPPING : DMA;
}

static void
check_piece (const struct piece *piece, enum path reader, unsigned char *seen,
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
             "written by %s, read by %s: %u bytes at 0x%llx differ "
             "from byte %u on: 0x%02x instead of 0x%02x\n",
             path_names[piece->writer], path_names[reader], piece->count,
             (unsigned long long) piece->offset, i, seen[i], expected[i]);
}

/* Waits until the lowest bit of the turn is BIT. */
static bool
wait_turn (struct pair *pair, uint32_t bit)
{
  for (unsigned n = 0;; ++n) {
    if ((atomic_load_explicit (&pair->turn, memory_order_acquire) & 1) == bit)
      return true;
    if (atomic_load (&pair->over))
      return false;
    /* At first without a pause, so that late data is noticed. */
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
    /* The writer or the other thread reads it. */
    if (next_random (&state) % 4 == 0)
      check_piece (&pair->piece, next_random (&state) & 1 ? MAPPING : DMA,
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
    check_piece (&pair->piece, next_random (&state) & 1 ? MAPPING : DMA, seen,
                 buf);
    atomic_fetch_add_explicit (&pair->turn, 1, memory_order_release);
  }
  free (buf);
  free (seen);
  return NULL;
}

/* Returns true if all agreed. */
static bool
try_coherence (double seconds, unsigned count)
{
  static struct pair pairs[PAIRS_MAX];
  uint64_t until = clock_ns () + (uint64_t) (seconds * 1e9);
  bool agreed = true;

  for (unsigned i = 0; i < count; ++i) {
    pairs[i].number = i;
    pairs[i].until = until;
    /* The pairs are spread over the chunks. */
    pairs[i].base = i * CHUNK / 2;
    if (pthread_create (&pairs[i].threads[0], NULL, write_pieces, &pairs[i]) ||
        pthread_create (&pairs[i].threads[1], NULL, read_pieces, &pairs[i]))
      give_up (1, "pthread_create failed");
  }
  for (unsigned i = 0; i < count; ++i) {
    pthread_join (pairs[i].threads[0], NULL);
    pthread_join (pairs[i].threads[1], NULL);
  }
  for (enum path writer = MAPPING; writer <= DMA; ++writer)
    for (enum path reader = MAPPING; reader <= DMA; ++reader) {
      printf ("coherence write=%s read=%s rounds=%llu mismatches=%llu\n",
              path_names[writer], path_names[reader],
              (unsigned long long) rounds[writer][reader],
              (unsigned long long) mismatches[writer][reader]);
      if (mismatches[writer][reader] > 0 || rounds[writer][reader] == 0)
        agreed = false;
    }
  printf ("coherence refused=%llu\n", (unsigned long long) refused);
  return agreed && refused == 0;
}

/* How long a copy takes after a rest of MS.  With KEEP the mapping is read
 * every millisecond meanwhile, to see whether that keeps the GPU awake.
 */
static double
time_after_rest (unsigned ms, bool keep, enum path path, bool write,
                 size_t count, unsigned char *buf)
{
  double took[REST_PROBES], t;
  uint64_t start;
  unsigned i, j;

  for (i = 0; i < REST_PROBES; ++i) {
    copy (DMA, false, buf, 0, 4 * KiB);
    copy (path, write, buf, 0, count);
    for (j = 0; j < ms; ++j) {
      if (keep)
        copy (MAPPING, false, buf, AREA, 4 * KiB);
      clock_sleep_us (1000);
    }
    start = clock_ns ();
    copy (path, write, buf, 0, count);
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
    enum path path;
    bool write, keep;
    size_t count;
  } columns[] = {
    { "m-read-4K", MAPPING, false, false, 4 * KiB },
    { "d-read-4K", DMA, false, false, 4 * KiB },
    { "m-read-32K", MAPPING, false, false, 32 * KiB },
    { "d-read-32K", DMA, false, false, 32 * KiB },
    { "m-write-4K", MAPPING, true, false, 4 * KiB },
    { "d-write-4K", DMA, true, false, 4 * KiB },
    { "d-read-4K/kept", DMA, false, true, 4 * KiB },
  };
  unsigned char *buf = buffer ();

  memset (buf, 1, LARGEST);
  copy (DMA, true, buf, 0, LARGEST);
  copy (DMA, true, buf, AREA, LARGEST);
  printf ("median us after a rest; /kept: the mapping was read meanwhile\n");
  printf ("%8s", "rest-ms");
  for (size_t c = 0; c < sizeof columns / sizeof columns[0]; ++c)
    printf (" %14s", columns[c].name);
  printf ("\n");
  for (unsigned i = 0; i < RESTS; ++i) {
    printf ("%8u", rests[i]);
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; ++c)
      printf (" %14.1f",
              time_after_rest (rests[i], columns[c].keep, columns[c].path,
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
           "Try whether the mapping and DMA agree on what VRAM holds.\n"
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
  char reason[PROVIDER_REASON];
  const struct device *gpu;
  const char *what;
  int r = 0, fd;

  libvulkan_prepare ();
  if (libcuda_load () == -1 || cuda_init (0) == -1)
    give_up (SKIP, "the driver does not work: see above");
  if (devices_list (&gpus) == -1)
    exit (1);
  gpu = spec ? devices_find (&gpus, spec)
             : devices_most_free (&cuda_provider, &gpus);
  chunk_count = size / CHUNK;
  chunks = calloc (chunk_count, sizeof *chunks);
  if (gpu == NULL || chunks == NULL || device_open (gpu, &cuda) == -1)
    exit (1);
  for (size_t i = 0; i < chunk_count; ++i)
    if (chunk_allocate (&cuda, &chunks[i], CHUNK, true, &what) != CUDA_SUCCESS)
      give_up (1, "%s failed", what);
  copier.cuda = &cuda;
  copier.queues = dma_create (&cuda, pairs * 2, 256 * KiB);
  if (copier.queues == NULL ||
      dma_warm_up (copier.queues, chunks[0].address) == -1)
    exit (1);
  copier.mapping = mapping_open (gpu->uuid_bytes, size, reason);
  if (copier.mapping == NULL)
    give_up (SKIP, "no mapping: %s", reason);
  for (size_t i = 0; r == 0 && i < chunk_count; ++i) {
    if (chunk_export (&chunks[i], &fd) != CUDA_SUCCESS)
      give_up (SKIP, "no mapping: chunks cannot be exported");
    r = mapping_add (copier.mapping, &chunks[i].mapping, fd, CHUNK, reason);
    close (fd);
    if (r == -1)
      give_up (SKIP, "no mapping: %s", reason);
    r = prove_mapping (&copier, &chunks[i], SPARE_ALL, reason);
  }
  printf ("gpu=%s chunks=%zu copies=%s\n", gpu->name, chunk_count,
          wccopy_choose (name));
  if (r == 0)
    r = calibrate (&copier, &chunks[0], &copier.limits, reason);
  if (r == -1)
    exit (1);
  if (r == 1)
    give_up (1, "%s", reason);
  printf ("write-max=%llu read-max=%llu read-max-rested=%llu\n",
          (unsigned long long) copier.limits.write_max,
          (unsigned long long) copier.limits.read_max,
          (unsigned long long) copier.limits.read_max_rested);
}

static void
close_all (void)
{
  for (size_t i = 0; i < chunk_count; ++i)
    mapping_remove (copier.mapping, &chunks[i].mapping);
  mapping_close (copier.mapping, false);
  dma_free (copier.queues);
  for (size_t i = 0; i < chunk_count; ++i)
    chunk_free (&cuda, &chunks[i]);
  free (chunks);
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
      mib = parse (optarg, 64, 1UL << 20);
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
  if (pairs > 2 * chunk_count)
    give_up (1, "%lu pairs need more VRAM: -s %llu", pairs,
             (unsigned long long) ((pairs + 1) / 2 * CHUNK / MiB));
  if (rests)
    try_rests ();
  else
    agreed = try_coherence ((double) seconds, (unsigned) pairs);
  close_all ();
  return agreed ? 0 : 1;
}
