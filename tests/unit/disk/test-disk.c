/* nbdkit-vram: tests of the disk with threads that share its blocks
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "disk/blockmap.h"
#include "check.h"
#include "common/clock.h"
#include "disk/disk.h"
#include "disk/slots.h"
#include "memory-provider.h"
#include "nbdkit-stubs.h"

/* Each thread has a part of every block that no other thread writes, so that
 * it knows the content, whatever the others do to the block.
 */
#define THREADS 4
#define PART    (BLOCK_SIZE / THREADS)
#define BLOCKS  12
#define SIZE    (BLOCKS * BLOCK_SIZE)

/* Chunks end between blocks. */
#define CHUNK (4 * BLOCK_SIZE)

static struct memory_provider vram;
static struct slots slots;
static struct disk *disk;

static atomic_uint toss;
static atomic_bool failing; /* some writes fail in the middle */
static atomic_bool stuck;   /* writes do not return */
static atomic_int inside;   /* how many writes hang */

static void
dawdle (void)
{
  if (atomic_fetch_add (&toss, 1) % 5 == 0)
    sched_yield ();
}

static size_t
before_copy (bool write, size_t count)
{
  if (!write)
    return count;
  atomic_fetch_add (&inside, 1);
  while (atomic_load (&stuck))
    sched_yield ();
  atomic_fetch_sub (&inside, 1);
  return atomic_load (&failing) && atomic_fetch_add (&toss, 1) % 13 == 0
             ? count / 2
             : count;
}

static void
begin (void)
{
  memory_provider_begin (&vram, CHUNK, SIZE);
  vram.before = before_copy;
  vram.pause = dawdle;
  CHECK_EQ (slots_allocate (&slots, &vram.provider, SIZE, SIZE, 0), 0);
  CHECK_EQ (slots.count, SIZE / CHUNK);
  atomic_store (&failing, false);
  stub_messages_clear ();
  disk = disk_create (&slots, NULL);
  CHECK (disk != NULL);
}

static void
end (void)
{
  disk_free (disk);
  slots_free (&slots);
  CHECK_EQ (vram.chunks, 0);
}

/* What a thread knows about its parts. */
struct owner {
  pthread_t thread;
  unsigned self;
  bool trims;   /* another thread trims blocks */
  bool fails;   /* writes may fail */
  struct part { /* of each block */
    unsigned char byte;
    bool maybe_zero; /* may have been trimmed since it was written */
  } part[BLOCKS];
};

static void
check_part (struct owner *owner, unsigned block)
{
  struct part *part = &owner->part[block];
  unsigned char buf[PART];

  CHECK_EQ (
      disk_read (disk, buf, PART, block * BLOCK_SIZE + owner->self * PART), 0);
  for (unsigned i = 0; i < PART; ++i) {
    if (buf[i] == part->byte || (buf[i] == 0 && part->maybe_zero))
      continue;
    check_fail (__FILE__, __LINE__,
                "thread %u, block %u, byte %u: %02x not %02x", owner->self,
                block, i, buf[i], part->byte);
  }
}

static void
write_part_of (struct owner *owner, struct rnd *rnd, unsigned block)
{
  struct part *part = &owner->part[block];
  unsigned char buf[PART], byte = (unsigned char) (rnd_below (rnd, 255) + 1);
  uint64_t offset = block * BLOCK_SIZE + owner->self * PART;
  int r;

  switch (rnd_below (rnd, 6)) {
  case 0:
    byte = 0;
    r = disk_zero (disk, PART, offset);
    break;
  case 1:
    byte = 0;
    /* fall through */
  default:
    memset (buf, byte, PART);
    r = disk_write (disk, buf, PART, offset);
  }
  if (r == 0)
    *part = (struct part){ .byte = byte, .maybe_zero = owner->trims };
  else {
    CHECK (owner->fails && errno == EIO);
    /* A part of it may have been written.  Zero it. */
    while (disk_zero (disk, PART, offset) == -1)
      ;
    *part = (struct part){ .byte = 0, .maybe_zero = owner->trims };
  }
}

static void *
own (void *arg)
{
  struct owner *owner = arg;
  struct rnd rnd;

  rnd_begin (&rnd, owner->self);
  for (unsigned i = 0; i < check_effort (6000); ++i) {
    unsigned block = (unsigned) rnd_below (&rnd, BLOCKS);

    if (rnd_below (&rnd, 3))
      write_part_of (owner, &rnd, block);
    check_part (owner, block);
  }
  return NULL;
}

static atomic_bool stop;

/* Trims blocks again and again, so that there is always one to fill. */
static void *
forget (void *arg)
{
  struct rnd rnd;

  (void) arg;
  rnd_begin (&rnd, 99);
  while (!atomic_load (&stop)) {
    uint32_t first = (uint32_t) rnd_below (&rnd, BLOCKS);

    disk_trim (disk, BLOCK_SIZE * (1 + (uint32_t) rnd_below (&rnd, 2)) - 1,
               first * BLOCK_SIZE);
    for (unsigned i = 0; i < 20; ++i)
      sched_yield ();
  }
  return NULL;
}

static void
run (bool trims, bool fails)
{
  static struct owner owner[THREADS];
  pthread_t forgetter;
  int r = 0;

  atomic_store (&stop, false);
  memset (owner, 0, sizeof owner);
  begin ();
  atomic_store (&failing, fails);
  if (trims)
    r = pthread_create (&forgetter, NULL, forget, NULL);
  CHECK_EQ (r, 0);
  for (unsigned i = 0; i < THREADS; ++i) {
    owner[i].self = i;
    owner[i].trims = trims;
    owner[i].fails = fails;
    CHECK_EQ (pthread_create (&owner[i].thread, NULL, own, &owner[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (owner[i].thread, NULL);
  atomic_store (&stop, true);
  if (trims)
    pthread_join (forgetter, NULL);
  for (unsigned i = 0; i < THREADS; ++i)
    for (unsigned b = 0; b < BLOCKS; ++b)
      check_part (&owner[i], b);
  end ();
}

static void
test_parts_of_blocks (void)
{
  run (false, false);
}

static void
test_parts_and_trims (void)
{
  run (true, false);
}

static void
test_parts_and_failures (void)
{
  run (false, true);
}

/* All threads write to an empty block at once, again and again. */
static pthread_barrier_t barrier;

static void *
write_first (void *arg)
{
  unsigned self = (unsigned) (uintptr_t) arg;
  unsigned char buf[PART];

  for (unsigned round = 0; round < check_effort (1500); ++round) {
    uint64_t offset = round % BLOCKS * BLOCK_SIZE + self * PART;

    pthread_barrier_wait (&barrier);
    memset (buf, (int) (self + 1), PART);
    CHECK_EQ (disk_write (disk, buf, PART, offset), 0);
    pthread_barrier_wait (&barrier);
    memset (buf, 0, PART);
    CHECK_EQ (disk_read (disk, buf, PART, offset), 0);
    for (unsigned i = 0; i < PART; ++i)
      if (buf[i] != self + 1)
        check_fail (__FILE__, __LINE__, "round %u, thread %u, byte %u: %02x",
                    round, self, i, buf[i]);
    pthread_barrier_wait (&barrier);
    if (self == 0)
      disk_trim (disk, BLOCK_SIZE, round % BLOCKS * BLOCK_SIZE);
  }
  return NULL;
}

static void
test_first_writes (void)
{
  pthread_t thread[THREADS];

  begin ();
  CHECK_EQ (pthread_barrier_init (&barrier, NULL, THREADS), 0);
  for (uintptr_t i = 0; i < THREADS; ++i)
    CHECK_EQ (pthread_create (&thread[i], NULL, write_first, (void *) i), 0);
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (thread[i], NULL);
  pthread_barrier_destroy (&barrier);
  end ();
}

/* A write that never returns keeps its blocks.  Other writes to them end with
 * an error when the GPU is lost, and not before.
 */
static atomic_int refused;

static void *
write_two_blocks (void *arg)
{
  char buf[2 * BLOCK_SIZE];

  memset (buf, 1, sizeof buf);
  if (disk_write (disk, buf, sizeof buf, (uintptr_t) arg) == -1) {
    CHECK_EQ (errno, EIO);
    atomic_fetch_add (&refused, 1);
  }
  return NULL;
}

static void
test_stuck_write (void)
{
  pthread_t thread[3];

  begin ();
  atomic_store (&stuck, true);
  CHECK_EQ (pthread_create (&thread[0], NULL, write_two_blocks, NULL), 0);
  while (atomic_load (&inside) == 0)
    sched_yield ();
  /* Whole blocks, and parts of blocks. */
  CHECK_EQ (
      pthread_create (&thread[1], NULL, write_two_blocks, (void *) BLOCK_SIZE),
      0);
  CHECK_EQ (pthread_create (&thread[2], NULL, write_two_blocks,
                            (void *) (BLOCK_SIZE + 512)),
            0);
  clock_sleep_us (1100000);
  CHECK_EQ (atomic_load (&refused), 0);
  CHECK_EQ (atomic_load (&inside), 1);
  disk_fail (disk);
  pthread_join (thread[1], NULL);
  pthread_join (thread[2], NULL);
  CHECK_EQ (atomic_load (&refused), 2);
  atomic_store (&stuck, false);
  pthread_join (thread[0], NULL);
  end ();
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_first_writes);
  RUN (test_parts_of_blocks);
  RUN (test_parts_and_trims);
  RUN (test_parts_and_failures);
  RUN (test_stuck_write);
  return check_end ();
}
