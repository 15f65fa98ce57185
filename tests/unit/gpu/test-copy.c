/* nbdkit-vram: tests of the path of copies, with arrays in the place of VRAM
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
#include "gpu/calibrate.h"
#include "gpu/copy.h"
#include "common/units.h"

#define CHUNK_SIZE (2 * MiB)
#define CHUNKS     3
#define BASE       UINT64_C (0x700000000)

static unsigned char vram[CHUNKS * CHUNK_SIZE];
static struct cuda_chunk chunks[CHUNKS];
static struct cuda cuda;
static struct copier copier;

/* Faults, and how long copies take. */
static struct {
  bool dma;           /* DMA fails */
  bool mapping;       /* the mapping is closed */
  bool ones;          /* the mapping reads as ones, as with a lost GPU */
  unsigned elsewhere; /* a chunk whose mapping shows the one before */
  bool writes_lost;   /* the mapping loses what is written */
  unsigned dma_ns_per_kib, mapping_ns_per_kib, dma_ns;
} config;

/* Copies since the last reset. */
static unsigned by_dma, by_mapping;
static size_t last_dma_bytes;

static int mapping_object, queues_object;

static void
take (uint64_t ns)
{
  uint64_t start = clock_ns ();

  while (clock_ns () - start < ns)
    ;
}

static int
dma (void *dst, const void *src, size_t count)
{
  by_dma++;
  last_dma_bytes = count;
  if (config.dma) {
    errno = EIO;
    return -1;
  }
  memcpy (dst, src, count);
  take (config.dma_ns + config.dma_ns_per_kib * count / 1024);
  return 0;
}

int
dma_write (struct dma_queues *queues, CUdeviceptr dst, const void *src,
           size_t count)
{
  CHECK (queues == (struct dma_queues *) &queues_object);
  return dma (vram + (dst - BASE), src, count);
}

int
dma_read (struct dma_queues *queues, void *dst, CUdeviceptr src, size_t count)
{
  CHECK (queues == (struct dma_queues *) &queues_object);
  return dma (dst, vram + (src - BASE), count);
}

bool
mapping_is_open (const struct mapping *mapping)
{
  CHECK (mapping == (struct mapping *) &mapping_object);
  return !config.mapping;
}

/* The byte that the mapping of CHUNK shows at OFFSET. */
static unsigned char *
shown (const struct chunk_mapping *chunk, uint64_t offset)
{
  if (config.elsewhere > 0 && chunk == &chunks[config.elsewhere].mapping)
    chunk = &chunks[config.elsewhere - 1].mapping;
  return (unsigned char *) chunk->address + offset;
}

int
mapping_write (struct mapping *mapping, const struct chunk_mapping *chunk,
               uint64_t offset, const void *src, size_t count)
{
  CHECK (mapping == (struct mapping *) &mapping_object);
  by_mapping++;
  if (config.mapping)
    return -1;
  if (!config.writes_lost)
    memcpy (shown (chunk, offset), src, count);
  take (config.mapping_ns_per_kib * count / 1024);
  return 0;
}

int
mapping_read (struct mapping *mapping, const struct chunk_mapping *chunk,
              void *dst, uint64_t offset, size_t count)
{
  CHECK (mapping == (struct mapping *) &mapping_object);
  by_mapping++;
  if (config.mapping)
    return -1;
  if (config.ones)
    memset (dst, 0xff, count);
  else
    memcpy (dst, shown (chunk, offset), count);
  take (config.mapping_ns_per_kib * count / 1024);
  return 0;
}

static void
begin (void)
{
  memset (&config, 0, sizeof config);
  atomic_init (&cuda.lost, false);
  for (unsigned i = 0; i < CHUNKS; ++i)
    chunks[i] = (struct cuda_chunk){
      .chunk.size = CHUNK_SIZE,
      .address = BASE + i * CHUNK_SIZE,
      .mapping = { .address = (char *) vram + i * CHUNK_SIZE,
                   .size = CHUNK_SIZE },
    };
  memset (vram, 0xa5, sizeof vram);
  stub_messages_clear ();
  vram_debug_random_path = 0;
  memset (&copier, 0, sizeof copier);
  copier.cuda = &cuda;
  copier.queues = (struct dma_queues *) &queues_object;
  copier.mapping = (struct mapping *) &mapping_object;
  by_dma = by_mapping = 0;
}

/* As begin, with a mapping for copies up to these sizes. */
static void
begin_with (uint64_t read_max, uint64_t read_max_rested, uint64_t write_max)
{
  begin ();
  copier.limits.read_max = read_max;
  copier.limits.read_max_rested = read_max_rested;
  copier.limits.write_max = write_max;
}

/* Copies COUNT bytes, and returns which path it used. */

static char
write_path (size_t count)
{
  static unsigned char buf[CHUNK_SIZE];
  static unsigned char serial;

  by_dma = by_mapping = 0;
  memset (buf, ++serial % 200, count);
  CHECK_EQ (copy_write (&copier, &chunks[0], 1000, buf, count), 0);
  CHECK (memcmp (vram + 1000, buf, count) == 0);
  CHECK_EQ (by_dma + by_mapping, 1);
  return by_dma ? 'd' : 'm';
}

static char
read_path (size_t count)
{
  static unsigned char buf[CHUNK_SIZE];

  by_dma = by_mapping = 0;
  CHECK_EQ (copy_read (&copier, &chunks[0], 1000, buf, count), 0);
  CHECK (memcmp (vram + 1000, buf, count) == 0);
  CHECK_EQ (by_dma + by_mapping, 1);
  return by_dma ? 'd' : 'm';
}

/* A chunk without a mapping is copied by DMA; the others are not. */
static void
test_no_mapping (void)
{
  unsigned char buf[100] = { 0 };

  begin_with (8192, 8192, 100000);
  chunks[0].mapping.address = NULL;
  CHECK_EQ (write_path (1), 'd');
  CHECK_EQ (read_path (1), 'd');
  CHECK_EQ (copy_read (&copier, &chunks[1], 0, buf, sizeof buf), 0);
  CHECK_EQ (by_mapping, 1);
  vram_debug_random_path = 1;
  for (unsigned i = 0; i < 20; ++i)
    CHECK_EQ (read_path (1), 'd');
}

static void
test_limits (void)
{
  begin_with (8192, 8192, 100000);
  CHECK_EQ (write_path (1), 'm');
  CHECK_EQ (write_path (100000), 'm');
  CHECK_EQ (write_path (100001), 'd');
  CHECK_EQ (read_path (1), 'm');
  CHECK_EQ (read_path (8192), 'm');
  CHECK_EQ (read_path (8193), 'd');
  begin_with (0, 0, 0);
  CHECK_EQ (write_path (1), 'd');
  CHECK_EQ (read_path (1), 'd');
}

/* After a rest of the GPU, the first of several larger reads goes through the
 * mapping. */
static void
test_rest (void)
{
  begin_with (8192, 32768, 100000);
  atomic_store (&copier.last_dma, 0);
  CHECK_EQ (read_path (32769), 'd');
  CHECK (atomic_load (&copier.last_dma) > 0);
  atomic_store (&copier.last_dma, 0);
  CHECK_EQ (read_path (32768), 'm');
  CHECK (atomic_load (&copier.last_dma) > 0);
  /* DMA was used just now, even if this program is stopped here. */
  atomic_store (&copier.last_dma, clock_ns () + UINT64_C (3600000000000));
  CHECK_EQ (read_path (32768), 'd');
  CHECK_EQ (read_path (8192), 'm');
  /* Small reads through the mapping do not wake the GPU. */
  atomic_store (&copier.last_dma, 0);
  CHECK_EQ (read_path (8192), 'm');
  CHECK_EQ (atomic_load (&copier.last_dma), 0);
  CHECK_EQ (write_path (100001), 'd');
  CHECK (atomic_load (&copier.last_dma) > 0);
}

/* Lines of ones are read again by DMA, and no others. */
static void
test_ones (void)
{
  unsigned char buf[4096], seen[4096];

  begin_with (8192, 8192, 8192);
  memset (buf, 0x77, sizeof buf);
  memset (buf + 640, 0xff, 64);
  CHECK_EQ (copy_write (&copier, &chunks[1], 4096, buf, 4096), 0);
  memset (seen, 0, sizeof seen);
  CHECK_EQ (copy_read (&copier, &chunks[1], 4096, seen, 4096), 0);
  CHECK (memcmp (seen, buf, sizeof buf) == 0);
  CHECK_EQ (by_dma, 1);
  CHECK_EQ (last_dma_bytes, 64);

  /* A read from the first to the last of such lines, with parts of both. */
  by_dma = 0;
  memset (vram, 0xff, 8192);
  CHECK_EQ (copy_read (&copier, &chunks[0], 60, seen, 300), 0);
  CHECK_EQ (by_dma, 1);
  CHECK_EQ (last_dma_bytes, 300);
  vram[40] = vram[64 * 3] = vram[64 * 6 + 63] = 0;
  CHECK_EQ (copy_read (&copier, &chunks[0], 50, seen, 7 * 64), 0);
  CHECK_EQ (by_dma, 2);
  CHECK_EQ (last_dma_bytes, 7 * 64);
  vram[63] = vram[64 * 7] = 0;
  CHECK_EQ (copy_read (&copier, &chunks[0], 50, seen, 7 * 64), 0);
  CHECK_EQ (last_dma_bytes, 5 * 64);
  CHECK (memcmp (seen, vram + 50, 7 * 64) == 0);
  /* A line with other bytes is not read again. */
  by_dma = 0;
  for (unsigned i = 0; i < 8192; i += 64)
    vram[i + 63] = 0;
  CHECK_EQ (copy_read (&copier, &chunks[0], 0, seen, 4096), 0);
  CHECK_EQ (by_dma, 0);

  /* With a lost GPU the request fails. */
  config.ones = config.dma = true;
  CHECK_EQ (copy_read (&copier, &chunks[0], 0, seen, 4096), -1);
  CHECK_EQ (errno, EIO);
}

/* If the mapping fails, DMA copies the right bytes. */
static void
test_falls_back (void)
{
  unsigned char buf[100], seen[100];

  begin_with (8192, 8192, 8192);
  memset (buf, 0x78, sizeof buf);
  config.mapping = true;
  CHECK_EQ (copy_write (&copier, &chunks[0], 50, buf, sizeof buf), 0);
  CHECK (memcmp (vram + 50, buf, sizeof buf) == 0);
  CHECK_EQ (by_dma, 1);
  /* If DMA fails, too, the request fails. */
  config.dma = true;
  CHECK_EQ (copy_write (&copier, &chunks[0], 50, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (copy_read (&copier, &chunks[0], 50, seen, sizeof seen), -1);
}

/* When the context is lost, the mapping is not used either. */
static void
test_lost (void)
{
  unsigned char buf[100] = { 0 };

  begin_with (8192, 8192, 8192);
  atomic_store (&cuda.lost, true);
  config.dma = true;
  for (int random = 0; random < 2; ++random) {
    vram_debug_random_path = random;
    CHECK_EQ (copy_write (&copier, &chunks[0], 0, buf, sizeof buf), -1);
    CHECK_EQ (copy_read (&copier, &chunks[0], 0, buf, sizeof buf), -1);
  }
  CHECK_EQ (by_mapping, 0);
}

/* With a random path both paths are used for all sizes. */
static void
test_random (void)
{
  unsigned by_dma_in_all = 0;

  begin_with (0, 0, 0);
  vram_debug_random_path = 1;
  for (unsigned i = 0; i < 200; ++i)
    by_dma_in_all += (write_path (10) == 'd') + (read_path (100000) == 'd');
  CHECK (by_dma_in_all > 50 && by_dma_in_all < 350);
}

/* Calibration finds the faster path where the difference is large.  The exact
 * size at which one overtakes the other depends on the machine's load, and is
 * not checked.
 */
static void
test_finds_the_faster (void)
{
  char reason[PROVIDER_REASON];
  struct copy_limits limits;

  begin ();
  config.dma_ns = 2000000;
  CHECK_EQ (calibrate (&copier, &chunks[0], &limits, reason), 0);
  CHECK (limits.read_max >= 4 * KiB && limits.read_max <= 128 * KiB);
  CHECK (limits.read_max_rested >= limits.read_max);
  CHECK (limits.write_max >= 4 * KiB && limits.write_max <= MiB);

  begin ();
  config.mapping_ns_per_kib = 500000;
  CHECK_EQ (calibrate (&copier, &chunks[0], &limits, reason), 0);
  CHECK_EQ (limits.read_max, 0);
  CHECK_EQ (limits.write_max, 0);

  begin ();
  config.mapping = true;
  CHECK_EQ (calibrate (&copier, &chunks[0], &limits, reason), 1);
  CHECK_HOLDS (reason, "SIGBUS");

  begin ();
  config.dma = true;
  CHECK_EQ (calibrate (&copier, &chunks[0], &limits, reason), -1);
}

/* A mapping that shows other content is refused. */
static void
test_proof (void)
{
  char reason[PROVIDER_REASON] = "";

  begin ();
  for (unsigned i = 0; i < CHUNKS; ++i)
    CHECK_EQ (prove_mapping (&copier, &chunks[i], SPARE_ALL, reason), 0);
  for (unsigned i = 1; i < CHUNKS; ++i) {
    config.elsewhere = i;
    CHECK_EQ (prove_mapping (&copier, &chunks[i], SPARE_ALL, reason), 1);
    CHECK_HOLDS (reason, "do not see the same bytes");
    CHECK_EQ (prove_mapping (&copier, &chunks[i - 1], SPARE_ALL, reason), 0);
  }

  begin ();
  config.writes_lost = true;
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE_ALL, reason), 1);
  CHECK_HOLDS (reason, "do not see the same bytes");

  begin ();
  config.mapping = true;
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE_ALL, reason), 1);
  CHECK_HOLDS (reason, "SIGBUS");

  begin ();
  config.dma = true;
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE_ALL, reason), -1);
}

#define SPARE (CHUNK_SIZE - 8192)

static void
begin_imported (void)
{
  begin ();
  for (size_t i = 0; i < sizeof vram; ++i)
    vram[i] = (unsigned char) (i / 64 * 7);
}

/* The data is unchanged, except in the block without data if SPARE. */
static void
check_data_stays (bool spare)
{
  for (size_t i = 0; i < sizeof vram; ++i)
    if (!spare || i < SPARE || i >= SPARE + 64)
      CHECK_EQ (vram[i], (unsigned char) (i / 64 * 7));
}

/* The mapping of a chunk with data is tested without changing the data. */
static void
test_imported (void)
{
  char reason[PROVIDER_REASON] = "";

  begin_imported ();
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE, reason), 0);
  check_data_stays (true);
  begin_imported ();
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE_NONE, reason), 0);
  check_data_stays (false);

  /* The mapping shows another chunk, which differs only in one line. */
  begin_imported ();
  config.elsewhere = 1;
  memcpy (vram + CHUNK_SIZE, vram, CHUNK_SIZE);
  memset (vram + CHUNK_SIZE, 0x11, 64);
  CHECK_EQ (prove_mapping (&copier, &chunks[1], SPARE_NONE, reason), 1);
  CHECK_HOLDS (reason, "do not see the same bytes");
  /* Or one with the same content: only a block without data can tell. */
  memcpy (vram + CHUNK_SIZE, vram, CHUNK_SIZE);
  CHECK_EQ (prove_mapping (&copier, &chunks[1], SPARE, reason), 1);

  begin_imported ();
  config.writes_lost = true;
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE, reason), 1);
  check_data_stays (true);

  begin_imported ();
  config.mapping = true;
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE, reason), 1);
  CHECK_HOLDS (reason, "SIGBUS");

  begin_imported ();
  config.dma = true;
  CHECK_EQ (prove_mapping (&copier, &chunks[0], SPARE, reason), -1);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_no_mapping);
  RUN (test_limits);
  RUN (test_rest);
  RUN (test_ones);
  RUN (test_falls_back);
  RUN (test_lost);
  RUN (test_random);
  RUN (test_finds_the_faster);
  RUN (test_proof);
  RUN (test_imported);
  return check_end ();
}
