/* nbdkit-vram: tests of which way copies go, on ways that are arrays
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "common/clock.h"
#include "debug.h"
#include "nbdkit-stubs.h"
#include "gpu/copy.h"
#include "common/units.h"

#define CHUNK_SIZE (2 * MiB)
#define CHUNKS     3
#define BASE       UINT64_C (0x700000000)

static unsigned char vram[CHUNKS * CHUNK_SIZE];
static struct chunk chunk_list[CHUNKS];
static struct cuda cuda;
static struct chunks chunks;
static struct copier route;

/* What goes wrong. */
static struct {
  bool lanes;         /* they fail */
  bool window;        /* it is shut */
  bool ones;          /* reads by it are refused */
  unsigned elsewhere; /* a chunk that the window shows instead of the next */
  bool deaf;          /* it loses what is written */
  unsigned lane_ns_per_kib, window_ns_per_kib, lane_ns; /* how long it takes */
} config;

/* Copies since the last reset. */
static unsigned by_lane, by_window;

static int window_object, lanes_object;

static void
take (uint64_t ns)
{
  uint64_t start = clock_ns ();

  while (clock_ns () - start < ns)
    ;
}

static int
lane (void *dst, const void *src, size_t count)
{
  by_lane++;
  if (config.lanes) {
    errno = EIO;
    return -1;
  }
  memcpy (dst, src, count);
  take (config.lane_ns + config.lane_ns_per_kib * count / 1024);
  return 0;
}

int
dma_write (struct dma_queues *lanes, CUdeviceptr dst, const void *src,
           size_t count)
{
  CHECK (lanes == (struct dma_queues *) &lanes_object);
  return lane (vram + (dst - BASE), src, count);
}

int
dma_read (struct dma_queues *lanes, void *dst, CUdeviceptr src, size_t count)
{
  CHECK (lanes == (struct dma_queues *) &lanes_object);
  return lane (dst, vram + (src - BASE), count);
}

bool
mapping_is_open (const struct mapping *window)
{
  CHECK (window == (struct mapping *) &window_object);
  return !config.window;
}

/* Where the window shows OFFSET. */
static unsigned char *
shown (uint64_t offset)
{
  if (config.elsewhere > 0 && offset / CHUNK_SIZE == config.elsewhere)
    return vram + (offset - CHUNK_SIZE);
  return vram + offset;
}

int
mapping_write (struct mapping *window, uint64_t offset, const void *src,
               size_t count)
{
  CHECK (window == (struct mapping *) &window_object);
  by_window++;
  if (config.window)
    return -1;
  if (!config.deaf)
    memcpy (shown (offset), src, count);
  take (config.window_ns_per_kib * count / 1024);
  return 0;
}

int
mapping_read (struct mapping *window, void *dst, uint64_t offset, size_t count)
{
  CHECK (window == (struct mapping *) &window_object);
  by_window++;
  if (config.window || config.ones)
    return -1;
  memcpy (dst, shown (offset), count);
  take (config.window_ns_per_kib * count / 1024);
  return 0;
}

/* All in order, and no window yet. */
static void
begin (void)
{
  memset (&config, 0, sizeof config);
  atomic_init (&cuda.lost, false);
  chunks = (struct chunks){
    .cuda = &cuda,
    .base = BASE,
    .size = sizeof vram - 4096,
    .count = CHUNKS,
    .chunk = chunk_list,
    .mapped = true,
    .chunk_size = CHUNK_SIZE,
  };
  for (unsigned i = 0; i < CHUNKS; ++i) {
    chunk_list[i].offset = i * CHUNK_SIZE;
    chunk_list[i].size = CHUNK_SIZE;
  }
  memset (vram, 0xa5, sizeof vram);
  stub_messages_clear ();
  vram_debug_random_path = vram_debug_window_write_max = 0;
  copy_init (&route, (struct dma_queues *) &lanes_object, &chunks);
  by_lane = by_window = 0;
}

static int
add_window (const uint64_t *read_max, char reason[MAPPING_REASON])
{
  int r = copy_add_mapping (&route, (struct mapping *) &window_object, &chunks,
                            read_max, reason);

  CHECK_EQ (stub_errors_count (), 0);
  return r;
}

/* As BEGIN, with a window for what is up to these sizes. */
static void
begin_with (uint64_t read_max, uint64_t read_max_rested, uint64_t write_max)
{
  char reason[MAPPING_REASON];

  begin ();
  CHECK_EQ (add_window (&read_max, reason), 0);
  route.limits.read_max_rested = read_max_rested;
  route.limits.write_max = write_max;
  by_lane = by_window = 0;
}

/* Send COUNT bytes to and fro and say by which way they went. */

static char
write_way (size_t count)
{
  static unsigned char buf[CHUNK_SIZE];
  static unsigned char serial;

  by_lane = by_window = 0;
  memset (buf, ++serial, count);
  CHECK_EQ (copy_write (&route, buf, count, 1000), 0);
  CHECK (memcmp (vram + 1000, buf, count) == 0);
  CHECK_EQ (by_lane + by_window, 1);
  return by_lane ? 'l' : 'w';
}

static char
read_way (size_t count)
{
  static unsigned char buf[CHUNK_SIZE];

  by_lane = by_window = 0;
  CHECK_EQ (copy_read (&route, buf, count, 1000), 0);
  CHECK (memcmp (vram + 1000, buf, count) == 0);
  CHECK_EQ (by_lane + by_window, 1);
  return by_lane ? 'l' : 'w';
}

static void
test_no_window (void)
{
  begin ();
  CHECK_EQ (write_way (1), 'l');
  CHECK_EQ (read_way (1), 'l');
  vram_debug_random_path = 1;
  for (unsigned i = 0; i < 20; ++i)
    CHECK_EQ (read_way (1), 'l');
}

static void
test_limits (void)
{
  begin_with (8192, 8192, 100000);
  CHECK_EQ (write_way (1), 'w');
  CHECK_EQ (write_way (100000), 'w');
  CHECK_EQ (write_way (100001), 'l');
  CHECK_EQ (read_way (1), 'w');
  CHECK_EQ (read_way (8192), 'w');
  CHECK_EQ (read_way (8193), 'l');
  begin_with (0, 0, 0);
  CHECK_EQ (write_way (1), 'l');
  CHECK_EQ (read_way (1), 'l');
}

/* After a rest larger reads go by the window, but only the first of a row. */
static void
test_rest (void)
{
  begin_with (8192, 32768, 100000);
  atomic_store (&route.last_large, 0);
  CHECK_EQ (read_way (32769), 'l');
  CHECK (atomic_load (&route.last_large) > 0);
  atomic_store (&route.last_large, 0);
  CHECK_EQ (read_way (32768), 'w');
  CHECK (atomic_load (&route.last_large) > 0);
  /* Used a moment ago, however long this program is stopped here. */
  atomic_store (&route.last_large, clock_ns () + UINT64_C (3600000000000));
  CHECK_EQ (read_way (32768), 'l');
  CHECK_EQ (read_way (8192), 'w');
  /* Small reads are no reason to take the GPU for awake. */
  atomic_store (&route.last_large, 0);
  CHECK_EQ (read_way (8192), 'w');
  CHECK_EQ (atomic_load (&route.last_large), 0);
  CHECK_EQ (write_way (100001), 'l');
  CHECK (atomic_load (&route.last_large) > 0);
}

/* What the window cannot do, a lane does, with the right bytes. */
static void
test_falls_back (void)
{
  unsigned char buf[100], seen[100];

  begin_with (8192, 8192, 8192);
  memset (buf, 0x77, sizeof buf);
  config.ones = true;
  CHECK_EQ (copy_write (&route, buf, sizeof buf, 50), 0);
  CHECK_EQ (by_lane, 0);
  memset (seen, 0, sizeof seen);
  CHECK_EQ (copy_read (&route, seen, sizeof seen, 50), 0);
  CHECK (memcmp (seen, buf, sizeof buf) == 0);
  CHECK_EQ (by_lane, 1);

  config.window = true;
  memset (buf, 0x78, sizeof buf);
  CHECK_EQ (copy_write (&route, buf, sizeof buf, 50), 0);
  CHECK (memcmp (vram + 50, buf, sizeof buf) == 0);
  CHECK_EQ (by_lane, 2);

  /* If that fails too, it fails. */
  config.lanes = true;
  CHECK_EQ (copy_write (&route, buf, sizeof buf, 50), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (copy_read (&route, seen, sizeof seen, 50), -1);
}

/* When the context is lost, the window is not asked either. */
static void
test_lost (void)
{
  unsigned char buf[100] = { 0 };

  begin_with (8192, 8192, 8192);
  atomic_store (&cuda.lost, true);
  config.lanes = true;
  for (int random = 0; random < 2; ++random) {
    vram_debug_random_path = random;
    CHECK_EQ (copy_write (&route, buf, sizeof buf, 0), -1);
    CHECK_EQ (copy_read (&route, buf, sizeof buf, 0), -1);
  }
  CHECK_EQ (by_window, 0);
}

/* Left to chance, both ways are taken, whatever the size. */
static void
test_random (void)
{
  unsigned lanes = 0;

  begin_with (0, 0, 0);
  vram_debug_random_path = 1;
  for (unsigned i = 0; i < 200; ++i)
    lanes += (write_way (10) == 'l') + (read_way (100000) == 'l');
  CHECK (lanes > 50 && lanes < 350);
}

static void
test_parameters_win (void)
{
  char reason[MAPPING_REASON];
  uint64_t read_max = 12345;

  begin ();
  CHECK_EQ (add_window (&read_max, reason), 0);
  CHECK_EQ (route.limits.read_max, 12345);
  CHECK_EQ (route.limits.read_max_rested, 12345);

  begin ();
  vram_debug_window_write_max = 777;
  CHECK_EQ (add_window (NULL, reason), 0);
  CHECK_EQ (route.limits.write_max, 777);
  begin ();
  vram_debug_window_write_max = -1;
  CHECK_EQ (add_window (NULL, reason), 0);
  CHECK_EQ (route.limits.write_max, 0);
}

/* Trying finds which way is faster, where the difference is beyond doubt: how
 * loaded the machine is changes where exactly one overtakes the other, and
 * nothing here depends on that.
 */
static void
test_finds_the_faster (void)
{
  char reason[MAPPING_REASON];

  begin ();
  config.lane_ns = 2000000;
  CHECK_EQ (add_window (NULL, reason), 0);
  CHECK (route.limits.read_max >= 4 * KiB);
  CHECK (route.limits.write_max >= 4 * KiB);

  begin ();
  config.window_ns_per_kib = 500000;
  CHECK_EQ (add_window (NULL, reason), 0);
  CHECK_EQ (route.limits.read_max, 0);
  CHECK_EQ (route.limits.write_max, 0);

  /* A disk of one block. */
  begin ();
  chunks.size = 4 * KiB;
  CHECK_EQ (add_window (NULL, reason), 0);
}

/* A window that shows something else is found out. */
static void
test_proof (void)
{
  char reason[MAPPING_REASON] = "";

  begin ();
  config.elsewhere = 1;
  CHECK_EQ (add_window (NULL, reason), 1);
  CHECK_HOLDS (reason, "does not show what the GPU sees");
  CHECK (route.window == NULL);
  CHECK_EQ (write_way (1), 'l');

  begin ();
  config.elsewhere = CHUNKS - 1;
  CHECK_EQ (add_window (NULL, reason), 1);

  begin ();
  config.deaf = true;
  CHECK_EQ (add_window (NULL, reason), 1);
  CHECK_HOLDS (reason, "does not show what the GPU sees");

  begin ();
  config.window = true;
  CHECK_EQ (add_window (NULL, reason), 1);
  CHECK_HOLDS (reason, "SIGBUS");

  begin ();
  config.lanes = true;
  CHECK_EQ (add_window (NULL, reason), -1);
  CHECK (route.window == NULL);
}

static int
adopt_mapping (const struct copy_limits *limits, const uint64_t *read_max,
               char reason[MAPPING_REASON])
{
  /* The second chunk has data wherever one looks. */
  const uint64_t free_places[] = { 4096, CHUNK_SIZE - 8192, 2 * CHUNK_SIZE };

  return copy_adopt_mapping (&route, (struct mapping *) &window_object,
                             &chunks, free_places, 3, limits, read_max,
                             reason);
}

/* What data is there stays, but for the places that hold none. */
static void
check_data_stays (void)
{
  for (size_t i = 0; i < sizeof vram; ++i)
    if (!(i >= 4096 && i < 4096 + 64) &&
        !(i >= CHUNK_SIZE - 8192 && i < CHUNK_SIZE - 8192 + 64) &&
        !(i >= 2 * CHUNK_SIZE && i < 2 * CHUNK_SIZE + 64))
      CHECK_EQ (vram[i], (unsigned char) (i / 64 * 7));
}

static void
begin_adopting (void)
{
  begin ();
  for (size_t i = 0; i < sizeof vram; ++i)
    vram[i] = (unsigned char) (i / 64 * 7);
}

/* A window for a disk with data is proved without touching any of it. */
static void
test_adopt (void)
{
  const struct copy_limits limits = { 12 * KiB, 40 * KiB, 80 * KiB };
  const uint64_t read_max = 0;
  char reason[MAPPING_REASON] = "";

  begin_adopting ();
  CHECK_EQ (adopt_mapping (&limits, NULL, reason), 0);
  check_data_stays ();
  CHECK_EQ (route.limits.read_max, 12 * KiB);
  CHECK_EQ (route.limits.read_max_rested, 40 * KiB);
  CHECK_EQ (route.limits.write_max, 80 * KiB);

  /* What a parameter says is in force, and is not what the next one is told. */
  begin_adopting ();
  CHECK_EQ (adopt_mapping (&limits, &read_max, reason), 0);
  CHECK_EQ (route.limits.read_max, 0);
  CHECK_EQ (route.limits.read_max_rested, 0);
  CHECK_EQ (route.found.read_max, 12 * KiB);
  CHECK_EQ (route.found.read_max_rested, 40 * KiB);

  /* Of a server that had no window. */
  begin_adopting ();
  CHECK_EQ (adopt_mapping (NULL, NULL, reason), 0);
  CHECK (route.limits.read_max > 0 && route.limits.write_max > 0);
  check_data_stays ();

  /* It shows one chunk in another's place. */
  for (unsigned i = 1; i < CHUNKS; ++i) {
    begin_adopting ();
    config.elsewhere = i;
    /* As if both had the same content, where nothing was free. */
    memcpy (vram + i * CHUNK_SIZE, vram + (i - 1) * CHUNK_SIZE, CHUNK_SIZE);
    memset (vram + i * CHUNK_SIZE, 0x11, 64);
    CHECK_EQ (adopt_mapping (&limits, NULL, reason), 1);
    CHECK_HOLDS (reason, "does not show what the GPU sees");
    CHECK (route.window == NULL);
  }

  /* It loses what is written, which only the places without data can tell. */
  begin_adopting ();
  config.deaf = true;
  CHECK_EQ (adopt_mapping (&limits, NULL, reason), 1);
  CHECK (route.window == NULL);
  check_data_stays ();

  begin_adopting ();
  config.window = true;
  CHECK_EQ (adopt_mapping (&limits, NULL, reason), 1);
  CHECK_HOLDS (reason, "SIGBUS");

  begin_adopting ();
  config.lanes = true;
  CHECK_EQ (adopt_mapping (&limits, NULL, reason), -1);
  CHECK (route.window == NULL);
}

/* A window that is the faster one at each size that is tried is not taken for
 * the faster one at any size when its time grows faster.  Where that ends is
 * for the clock to say, so only that it ends is looked at, and a machine that
 * is too busy to tell may try again.
 */
static void
test_goes_on (void)
{
  char reason[MAPPING_REASON];
  unsigned tries = 0;

  do {
    begin ();
    config.lane_ns = 60000;
    config.window_ns_per_kib = 300;
    CHECK_EQ (add_window (NULL, reason), 0);
  } while ((route.limits.read_max <= 128 * KiB ||
            route.limits.read_max == UINT64_MAX) &&
           ++tries < 200);
  CHECK (tries < 200);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_adopt);
  RUN (test_goes_on);
  RUN (test_no_window);
  RUN (test_limits);
  RUN (test_rest);
  RUN (test_falls_back);
  RUN (test_lost);
  RUN (test_random);
  RUN (test_parameters_win);
  RUN (test_finds_the_faster);
  RUN (test_proof);
  return check_end ();
}
