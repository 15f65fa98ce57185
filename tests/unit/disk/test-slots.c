/* nbdkit-vram: tests of slots: chunks are allocated, fewer if VRAM is short,
 * and freed
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>
#include <unistd.h>

#include "check.h"
#include "common/units.h"
#include "disk/blockmap.h"
#include "disk/slots.h"
#include "memory-provider.h"
#include "nbdkit-stubs.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

static struct memory_provider vram;
static struct slots slots;

static void
begin (uint64_t bytes_free)
{
  memory_provider_begin (&vram, 64 * MiB, bytes_free);
  vram.provider.granularity = 2 * MiB;
  vram.reserve_only = true;
  stub_messages_clear ();
}

static void
end (void)
{
  slots_free (&slots);
  CHECK_EQ (vram.chunks, 0);
  stub_messages_clear ();
}

static int
allocate (uint64_t size, uint64_t min, uint64_t headroom)
{
  return slots_allocate (&slots, &vram.provider, size, min, headroom);
}

/* All chunks but the last have the same size. */
static void
check_layout (uint64_t size)
{
  uint64_t slot = UINT64_C (1) << slots.shift, sum = 0;

  CHECK_EQ (slots.size, size);
  CHECK (slots.count >= 1 && slots.count <= CHUNKS_MAX);
  CHECK_EQ (slots.count, vram.chunks);
  for (unsigned i = 0; i < slots.count; ++i) {
    CHECK_EQ (slots.chunk[i]->size % vram.provider.granularity, 0);
    if (i + 1 < slots.count)
      CHECK_EQ (slots.chunk[i]->size, slot);
    else
      CHECK (slots.chunk[i]->size <= slot);
    sum += slots.chunk[i]->size;
  }
  CHECK_EQ (sum, ROUND_UP (size, vram.provider.granularity));
  CHECK_EQ (sum, slots.allocated);
}

static void
test_sizes (void)
{
  static const struct {
    uint64_t size;
    size_t count;
    uint64_t last;
  } table[] = {
    { 4 * KiB, 1, 2 * MiB },
    { 2 * MiB - 4 * KiB, 1, 2 * MiB },
    { 2 * MiB, 1, 2 * MiB },
    { 2 * MiB + 4 * KiB, 1, 4 * MiB },
    { 64 * MiB, 1, 64 * MiB },
    { 64 * MiB + 4 * KiB, 2, 2 * MiB },
    { 200 * MiB, 4, 8 * MiB },
    { 8 * GiB - 4 * KiB, 128, 64 * MiB },
    { 8 * GiB, 128, 64 * MiB },
    { 8 * GiB + 4 * KiB, 65, 2 * MiB },
    { 60 * GiB + 4 * KiB, 121, 2 * MiB },
  };

  for (size_t i = 0; i < COUNT (table); ++i) {
    begin (64 * GiB);
    CHECK_EQ (allocate (table[i].size, table[i].size, 0), 0);
    check_layout (table[i].size);
    CHECK_EQ (slots.count, table[i].count);
    CHECK_EQ (slots.chunk[slots.count - 1]->size, table[i].last);
    CHECK_EQ (stub_errors_count (), 0);
    end ();
  }
}

/* How much of SIZE is allocated: in steps of 512 MiB, not below the minimum,
 * and so that the headroom stays free.
 */
static void
test_back_off (void)
{
  static const struct {
    uint64_t size, min, headroom, bytes_free, got; /* got 0: refused */
  } table[] = {
    { 5 * GiB, GiB, 0, 5 * GiB, 5 * GiB },
    { 5 * GiB, GiB, 0, 5 * GiB - 1, 4608 * MiB },
    { 5 * GiB, GiB, 0, 4608 * MiB - 1, 4 * GiB },
    { 5 * GiB, GiB, 0, GiB, GiB },
    { 5 * GiB, GiB, 0, GiB - 1, 0 },
    { 5 * GiB, 5 * GiB, 0, 5 * GiB - 1, 0 },
    { 5 * GiB, 4 * KiB, 0, 2 * MiB, 4 * KiB },
    { 5 * GiB, 4 * KiB, 0, 2 * MiB - 1, 0 },
    /* The last step ends at the minimum. */
    { 1200 * MiB, 700 * MiB, 0, 690 * MiB, 0 },
    { 1200 * MiB, 600 * MiB, 0, 650 * MiB, 600 * MiB },
    { 1200 * MiB, 600 * MiB, 0, 690 * MiB, 688 * MiB },
    /* Multiples of 4 KiB only. */
    { 3 * GiB + 12 * KiB, 8 * KiB, 0, 2 * GiB + 2 * MiB, 2 * GiB + 12 * KiB },
    { 3 * GiB + 12 * KiB, 8 * KiB, 0, 2 * GiB + MiB, 1536 * MiB + 12 * KiB },
    /* Headroom. */
    { 5 * GiB, GiB, GiB, 6 * GiB, 5 * GiB },
    { 5 * GiB, GiB, GiB, 6 * GiB - 1, 4608 * MiB },
    { 5 * GiB, GiB, GiB, 2 * GiB, GiB },
    { 5 * GiB, GiB, GiB, 2 * GiB - 1, 0 },
    { 5 * GiB, GiB, 60 * GiB, 5 * GiB, 0 },
  };

  for (size_t i = 0; i < COUNT (table); ++i) {
    int r;

    begin (table[i].bytes_free);
    r = allocate (table[i].size, table[i].min, table[i].headroom);
    if ((r == 0 ? slots.size : 0) != table[i].got)
      check_fail (__FILE__, __LINE__, "row %zu: got %" PRIu64, i,
                  r == 0 ? slots.size : 0);
    if (r == -1) {
      CHECK_EQ (stub_errors_count (), 1);
      CHECK_HOLDS (stub_errors (), "VRAM is short");
      CHECK_HOLDS (stub_errors (), SIZE_STR (table[i].min));
      CHECK_HOLDS (stub_errors (), SIZE_STR (table[i].bytes_free));
      CHECK_EQ (vram.chunks, 0);
    }
    else {
      CHECK_EQ (stub_errors_count (), 0);
      check_layout (table[i].got);
    }
    end ();
  }
}

/* If an allocation fails because VRAM is short, the disk gets smaller.  Any
 * other error is a refusal.  Nothing leaks.
 */
static void
test_failures (void)
{
  for (unsigned nth = 1; nth <= 20; ++nth)
    for (int result = -1; result <= 1; result += 2) {
      int r;

      begin (8 * GiB);
      vram.fail_nth = nth;
      vram.fail_result = result;
      r = allocate (GiB, 512 * MiB, GiB);
      if (vram.fail_nth > 0)
        check_layout (GiB);
      else if (result == 1) {
        CHECK_EQ (r, 0);
        check_layout (512 * MiB);
        CHECK_HOLDS (stub_debugs (), "cannot allocate 1 GiB of VRAM, trying");
      }
      else {
        CHECK_EQ (r, -1);
        CHECK_STR (stub_errors (), "cannot allocate 1 GiB of VRAM: the test "
                                   "wants it so\n");
        CHECK_EQ (vram.chunks, 0);
      }
      end ();
    }
  begin (8 * GiB);
  vram.fail_free_bytes = true;
  CHECK_EQ (allocate (GiB, GiB, GiB), -1);
  CHECK_EQ (vram.chunks, 0);
  end ();
}

/* A GPU that allocates in larger units than 2 MiB. */
static void
test_granularity (void)
{
  begin (8 * GiB);
  vram.provider.granularity = 32 * MiB;
  CHECK_EQ (allocate (100 * MiB, 100 * MiB, 0), 0);
  CHECK_EQ (slots.allocated, 128 * MiB);
  CHECK_EQ (slots.count, 2);
  CHECK_EQ (slots.chunk[1]->size, 64 * MiB);
  end ();
}

/* Copies and zeroing reach every byte, across the borders of chunks. */
static void
test_copies (void)
{
  enum { SIZE = 10 * BLOCK_SIZE };
  static unsigned char model[SIZE], buf[SIZE];
  struct rnd rnd;

  rnd_begin (&rnd, 1);
  memory_provider_begin (&vram, 4 * BLOCK_SIZE, SIZE);
  CHECK_EQ (allocate (SIZE, SIZE, 0), 0);
  CHECK_EQ (slots.count, 3);
  CHECK_EQ (slots_read (&slots, buf, SIZE, 0), 0);
  for (unsigned i = 0; i < SIZE; ++i)
    CHECK_EQ (buf[i], 0xa5);
  CHECK_EQ (slots_zero (&slots), 0);
  for (unsigned n = 0; n < check_effort (2000); ++n) {
    uint64_t offset = rnd_below (&rnd, SIZE);
    size_t count = 1 + rnd_below (&rnd, SIZE - offset);

    for (size_t i = 0; i < count; ++i)
      buf[i] = (unsigned char) rnd_next (&rnd);
    CHECK_EQ (slots_write (&slots, buf, count, offset), 0);
    memcpy (model + offset, buf, count);
    offset = rnd_below (&rnd, SIZE);
    count = 1 + rnd_below (&rnd, SIZE - offset);
    CHECK_EQ (slots_read (&slots, buf, count, offset), 0);
    CHECK (memcmp (buf, model + offset, count) == 0);
  }
  /* The provider is called once for each slot of a copy. */
  atomic_store (&vram.reads, 0);
  CHECK_EQ (slots_read (&slots, buf, 4096, 4 * BLOCK_SIZE), 0);
  CHECK_EQ (atomic_load (&vram.reads), 1);
  CHECK_EQ (slots_read (&slots, buf, SIZE, 0), 0);
  CHECK_EQ (atomic_load (&vram.reads), 4);
  atomic_store (&vram.lost, true);
  CHECK_EQ (slots_read (&slots, buf, SIZE, 0), -1);
  CHECK_EQ (slots_write (&slots, buf, SIZE, 0), -1);
  end ();
}

/* Chunks of any size are overwritten from end to end. */
static void
test_zero_large (void)
{
  begin (16 * GiB);
  vram.provider.chunk_size = 4 * GiB;
  CHECK_EQ (allocate (10 * GiB, 10 * GiB, 0), 0);
  CHECK_EQ (slots_zero (&slots), 0);
  CHECK_EQ (vram.zeroed, 10 * GiB);
  /* An error in any piece counts. */
  vram.fail_zeros = 1;
  CHECK_EQ (slots_zero_chunk (&slots, 1), -1);
  vram.fail_zeros = 1;
  CHECK_EQ (slots_zero (&slots), -1);
  end ();
}

/* The chunks of another server's disk, with their content. */
static void
test_import (void)
{
  enum { SIZE = 6 * BLOCK_SIZE };
  struct superblock_header header = {
    .disk_size = SIZE,
    .allocated = 6 * BLOCK_SIZE,
    .chunk_size = 4 * BLOCK_SIZE,
    .chunk_count = 2,
  };
  struct superblock superblock;
  static unsigned char buf[SIZE], seen[SIZE];
  int fds[2], kept[2];
  char reason[PROVIDER_REASON];

  memory_provider_begin (&vram, 4 * BLOCK_SIZE, 16 * BLOCK_SIZE);
  vram.exportable = true;
  vram.provider.granularity = 2 * BLOCK_SIZE;
  CHECK_EQ (allocate (SIZE, SIZE, 0), 0);
  CHECK_EQ (slots.allocated, 6 * BLOCK_SIZE);
  for (unsigned i = 0; i < SIZE; ++i)
    buf[i] = (unsigned char) (i * 7 / 64);
  CHECK_EQ (slots_write (&slots, buf, SIZE, 0), 0);
  for (unsigned i = 0; i < 2; ++i) {
    kept[i] = fds[i] =
        vram.provider.f->export(&vram.provider, slots.chunk[i], reason);
    CHECK (fds[i] != -1);
  }
  end ();

  /* All blocks hold data, but the last one of the second chunk, which has two.
   */
  CHECK_EQ (superblock_create (&superblock, &header), 0);
  *(uint64_t *) superblock.bits = 0x1f;

  /* If a chunk cannot be imported, the others are freed. */
  vram.fail_nth = 2;
  CHECK_EQ (slots_import (&slots, &vram.provider, &superblock, fds, 0), -1);
  CHECK_STR (stub_errors (),
             "adopt: cannot import chunk 1 of 2: the test wants it so\n");
  CHECK_EQ (vram.chunks, 0);
  CHECK_EQ (fds[0], -1);
  CHECK_EQ (fds[1], kept[1]);
  stub_messages_clear ();

  memory_provider_begin (&vram, 64 * BLOCK_SIZE, 16 * BLOCK_SIZE);
  vram.exportable = true;
  CHECK_EQ (allocate (4 * BLOCK_SIZE, 4 * BLOCK_SIZE, 0), 0);
  CHECK_EQ (slots_write (&slots, buf, 4 * BLOCK_SIZE, 0), 0);
  fds[0] = vram.provider.f->export(&vram.provider, slots.chunk[0], reason);
  end ();
  CHECK_EQ (slots_import (&slots, &vram.provider, &superblock, fds, 0), 0);
  CHECK_EQ (slots.size, SIZE);
  CHECK_EQ (slots.allocated, 6 * BLOCK_SIZE);
  CHECK_EQ (slots.chunk[0]->size, 4 * BLOCK_SIZE);
  CHECK_EQ (slots.chunk[1]->size, 2 * BLOCK_SIZE);
  CHECK (fds[0] == -1 && fds[1] == -1);
  CHECK_EQ (slots_read (&slots, seen, SIZE, 0), 0);
  CHECK (memcmp (seen, buf, SIZE) == 0);
  CHECK_EQ (slots_map (&slots, &superblock), 0);
  CHECK_EQ (vram.maps, 2);
  CHECK (vram.spares[0] == SPARE_NONE && vram.spares[1] == BLOCK_SIZE);
  /* A spare place lies in the chunk. */
  *(uint64_t *) superblock.bits = 0x3f;
  CHECK_EQ (slots_map (&slots, &superblock), 0);
  CHECK (vram.spares[2] == SPARE_NONE && vram.spares[3] == SPARE_NONE);
  CHECK_EQ (slots_map (&slots, NULL), 0);
  CHECK_EQ (vram.spares[5], SPARE_ALL);
  vram.fail_nth = 2;
  CHECK_EQ (slots_map (&slots, NULL), -1);
  CHECK_STR (stub_errors (),
             "cannot map chunk 1 of 2: the test wants it so\n");
  superblock_close (&superblock);
  end ();
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_sizes);
  RUN (test_back_off);
  RUN (test_failures);
  RUN (test_granularity);
  RUN (test_copies);
  RUN (test_zero_large);
  RUN (test_import);
  return check_end ();
}
