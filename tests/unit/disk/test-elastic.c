/* nbdkit-vram: tests of an elastic disk, which takes VRAM and gives it back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "common/units.h"
#include "disk/disk.h"
#include "disk/governor.h"
#include "disk/slots.h"
#include "disk/superblock.h"
#include "memory-provider.h"
#include "nbdkit-stubs.h"
#include "spill-disk.h"
#include "virtual-time.h"

#define RESERVE_CHUNKS 2
#define SLOTS          8
#define SLOT           (4 * BLOCK_SIZE)
#define SIZE           (SLOTS * SLOT)
#define VRAM           (16 * SLOT)
#define LARGE_SLOT     (32 * MiB)
#define LARGE_SIZE     (2 * LARGE_SLOT)
#define TIMEOUT_MS     20000

static struct memory_provider vram;
static struct slots slots;
static struct disk *disk;
static struct governor *governor;
static struct superblock superblock = SUPERBLOCK_NONE;
static struct superblock_shared *shared;

/* The chunks that a supervisor keeps, and the content of the disk. */
static int kept[CHUNKS_MAX];
static unsigned put_count, remove_count;
static int put_result, check_result;
static bool has_put; /* a chunk that was not checked yet */
static unsigned char model[SIZE];
static bool check_each_step;

/* For begin: a governor that does not wait, and moves slots at random; one
 * that frees VRAM with its content; a spill file, which is in memory here and
 * which the next server opens, too; large slots, but two only; and bytes that
 * the last slot lacks.
 */
static bool restless, no_scrub, with_spill, large;
static uint64_t lacking;
static struct spill *spill, *next_spill;
static unsigned spill_timeout_ms = TIMEOUT_MS;

static void check_adoption (void);

/* Chunks in the reserve hold zeros: a read that was overtaken by a trim may
 * see them.
 */
static void
check_reserve (void)
{
  for (unsigned i = 0; i < slots.elastic->reserve; ++i)
    CHECK (memory_provider_is_zero (slots.chunk[slots.elastic->chunk[i]]));
}

static void
at_step (void)
{
  if (!check_each_step)
    return;
  check_reserve ();
  check_adoption ();
}

static int
put_chunk (struct provider *p, const struct chunk *chunk, unsigned number)
{
  char reason[PROVIDER_REASON];

  at_step ();
  CHECK_EQ (kept[number], -1);
  put_count++;
  if (put_result == 0)
    kept[number] = p->f->export(p, chunk, reason);
  has_put = true;
  at_step ();
  return put_result;
}

static int
check_chunks (void)
{
  at_step ();
  /* The answer counts for what was put before. */
  CHECK (has_put);
  has_put = false;
  return check_result;
}

static void
remove_chunk (unsigned number)
{
  at_step ();
  remove_count++;
  if (kept[number] != -1)
    close (kept[number]);
  kept[number] = -1;
  at_step ();
}

static const struct governor_store store = {
  .put = put_chunk,
  .check = check_chunks,
  .remove = remove_chunk,
};

static size_t
before_copy (bool write, size_t count)
{
  (void) write;
  at_step ();
  return count;
}

static void
make_superblock (void)
{
  struct superblock_header header = {
    .version = SUPERBLOCK_VERSION_ELASTIC,
    .disk_size = slots.size,
    .allocated = slots.allocated,
    .chunk_size = SLOT,
    .chunk_count = slots.count,
  };
  char reason[PROVIDER_REASON];

  CHECK_EQ (superblock_create (&superblock, &header), 0);
  elastic_move_to (slots.elastic, &superblock);
  for (unsigned i = 0; i < CHUNKS_MAX; ++i)
    kept[i] = -1;
  for (unsigned i = 0; i < slots.count; ++i)
    if (slots.chunk[i])
      kept[i] =
          vram.provider.f->export(&vram.provider, slots.chunk[i], reason);
}

static void
open_spill (uint64_t size)
{
  char reason[SPILL_REASON];
  int fd = memfd_create ("spill", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  CHECK (fd != -1);
  CHECK_EQ (ftruncate (fd, (off_t) size), 0);
  spill = spill_open (NULL, fd, size, 0, spill_timeout_ms, reason);
  CHECK (spill != NULL);
  if (superblock.fd != -1) {
    next_spill = spill_open (NULL, fcntl (fd, F_DUPFD_CLOEXEC, 3), size, size,
                             TIMEOUT_MS, reason);
    CHECK (next_spill != NULL);
  }
  CHECK_EQ (spill_start (spill), 0);
  slots.elastic->spill = spill;
}

static void
make_governor (uint64_t headroom, bool handed_over)
{
  struct governor_options options = {
    .headroom = headroom,
    .limit = UINT64_MAX,
    .scrub = !no_scrub,
    .restless = restless,
    .store = handed_over ? &store : NULL,
  };

  governor = governor_create (&slots, disk_blockmap (disk), &options);
  CHECK (governor != NULL);
}

/* Makes a new disk, with a superblock and a store if HANDED_OVER.  Time is
 * virtual.
 */
static void
begin (uint64_t headroom, bool handed_over)
{
  const uint64_t slot = large ? LARGE_SLOT : SLOT;
  const uint64_t size = (large ? LARGE_SIZE : SIZE) - lacking;

  virtual_time_begin ();
  memory_provider_begin (&vram, slot, 16 * slot);
  vram.provider.granularity = slot;
  vram.exportable = true;
  stub_messages_clear ();
  memset (model, 0, sizeof model);
  put_count = remove_count = 0;
  put_result = check_result = 0;
  CHECK_EQ (
      slots_begin_elastic (&slots, &vram.provider, size, size, 0, TIMEOUT_MS),
      0);
  CHECK_EQ (slots.allocated, size + lacking);
  CHECK_EQ (slots.count, slots.allocated / slot);
  CHECK_EQ (slots_map (&slots, NULL), 0);
  CHECK_EQ (slots_zero (&slots), 0);
  slots_fill_reserve (&slots);
  if (handed_over)
    make_superblock ();
  if (with_spill)
    open_spill (slots.allocated);
  disk = disk_create (&slots, superblock.bits);
  CHECK (disk != NULL);
  make_governor (headroom, handed_over);
  shared = slots.elastic->shared;
  /* Otherwise the file becomes ready while the disk is used. */
  if (spill && !restless) {
    while (spill_ready (spill) < slots.allocated)
      sched_yield ();
    governor_step (governor);
  }
}

static unsigned
in_vram (void)
{
  unsigned n = 0;

  for (unsigned i = 0; i < slots.count; ++i)
    n += SLOT_STATE (atomic_load (&slots.elastic->table[i])) == SLOT_VRAM;
  return n;
}

static void
end (void)
{
  CHECK_EQ (governor_free (governor), 0);
  /* No chunk is lost or was freed with data in it. */
  CHECK_EQ (vram.chunks, in_vram () + elastic_reserve (slots.elastic));
  CHECK_EQ (vram.dirty_frees, 0);
  check_reserve ();
  disk_free (disk);
  spill_close (spill);
  spill_close (next_spill);
  spill = next_spill = NULL;
  restless = no_scrub = with_spill = large = false;
  lacking = 0;
  spill_timeout_ms = TIMEOUT_MS;
  slots_free (&slots);
  CHECK_EQ (vram.chunks, 0);
  if (superblock.fd != -1)
    for (unsigned i = 0; i < CHUNKS_MAX; ++i)
      if (kept[i] != -1)
        close (kept[i]);
  superblock_close (&superblock);
  stub_messages_clear ();
  virtual_time_end ();
}

static void
fill (unsigned char byte, uint64_t offset, uint32_t count)
{
  static unsigned char buf[SIZE];

  memset (buf, byte, count);
  CHECK_EQ (disk_write (disk, buf, count, offset), 0);
  memset (model + offset, byte, count);
}

static void
trim (uint64_t offset, uint32_t count)
{
  memset (model + offset, 0, count);
  disk_trim (disk, count, offset);
}

static void
check_content (struct disk *of)
{
  static unsigned char buf[SIZE];

  CHECK_EQ (disk_read (of, buf, SIZE, 0), 0);
  CHECK (memcmp (buf, model, SIZE) == 0);
}

/* Writes to the first N slots, of which each gets a chunk. */
static void
fill_slots (unsigned n)
{
  for (unsigned i = 0; i < n; ++i) {
    fill ((unsigned char) (i + 1), i * SLOT, SLOT);
    governor_step (governor);
  }
}

/* Another program takes all VRAM, while the governor looks N times. */
static void
squeeze_steps (unsigned n)
{
  while (n-- > 0) {
    vram.bytes_free = 0;
    governor_step (governor);
  }
}

/* The governor looks after MS. */
static unsigned
look_after (uint64_t ms)
{
  virtual_time_pass (ms);
  return governor_step (governor);
}

/* Runs the governor until COUNT chunks are held.  The bound only ends a test
 * that hangs.
 */
static void
step_until_held (unsigned count)
{
  const uint64_t give_up = clock_ms () + 60000;

  while (vram.chunks != count) {
    unsigned ms = governor_step (governor);

    CHECK (ms != GOVERNOR_SLEEP || vram.chunks == count);
    CHECK (clock_ms () < give_up);
    virtual_time_pass (ms < 100 ? ms : 100);
  }
  CHECK_EQ (atomic_load (&shared->vram_held), count * SLOT);
}

/* The chunks of ADOPTED, of the slots SLOT_OF, were mapped with a place that
 * holds no data.
 */
static void
check_spares (const struct slots *adopted, const unsigned *slot_of,
              const struct memory_provider *from,
              const struct superblock *copy)
{
  const uint64_t blocks = SLOT / BLOCK_SIZE;
  unsigned n = 0;

  for (unsigned i = 0; i < SLOTS; ++i) {
    uint64_t first, block;

    if (adopted->chunk[i] == NULL)
      continue;
    first = slot_of[i] * blocks;
    CHECK_EQ (from->spares[n++],
              superblock_find_free (copy, first, first + blocks, &block)
                  ? (block - first) * BLOCK_SIZE
                  : SPARE_NONE);
  }
  CHECK_EQ (n, from->maps);
}

/* A server that takes the disk over now finds all of its data. */
static void
check_adoption (void)
{
  static bool inside;
  struct memory_provider other;
  struct slots adopted;
  struct superblock copy;
  struct disk *again;
  int fds[CHUNKS_MAX];
  unsigned slot_of[CHUNKS_MAX];
  char *bytes;
  int fd;

  if (inside)
    return;
  inside = true;
  fd = memfd_create ("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  CHECK (fd != -1);
  bytes = (char *) superblock.header;
  CHECK_EQ (write (fd, bytes, superblock.size), (ssize_t) superblock.size);
  CHECK_EQ (fcntl (fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
            0);
  CHECK_EQ (superblock_open (&copy, fd), 0);
  memory_provider_begin (&other, SLOT, VRAM);
  for (unsigned i = 0; i < CHUNKS_MAX; ++i)
    fds[i] = -1;
  for (unsigned i = 0; i < SLOTS; ++i) {
    uint64_t word = atomic_load (&copy.slots[i]);

    /* The next server overwrites the rest. */
    if (SLOT_STATE (word) == SLOT_SPILL)
      CHECK (atomic_load (&copy.shared->spill_size) >= (i + 1) * SLOT);
    if (SLOT_STATE (word) != SLOT_VRAM)
      continue;
    CHECK (kept[SLOT_CHUNK (word)] != -1);
    slot_of[SLOT_CHUNK (word)] = i;
    fds[SLOT_CHUNK (word)] =
        fcntl (kept[SLOT_CHUNK (word)], F_DUPFD_CLOEXEC, 3);
  }
  /* A server may die while it changes the place of any slot. */
  for (unsigned i = 0; i < SLOTS; ++i)
    atomic_fetch_or (&copy.slots[i], SLOT_FROZEN | SLOT_LOCKED);
  CHECK_EQ (slots_import (&adopted, &other.provider, &copy, fds, TIMEOUT_MS),
            0);
  CHECK_EQ (slots_map (&adopted, &copy), 0);
  check_spares (&adopted, slot_of, &other, &copy);
  for (unsigned i = 0; i < SLOTS; ++i)
    CHECK_EQ (atomic_load (&copy.slots[i]) & (SLOT_FROZEN | SLOT_LOCKED), 0);
  again = disk_create (&adopted, copy.bits);
  CHECK (again != NULL);
  adopted.elastic->map = disk_blockmap (again);
  adopted.elastic->spill = next_spill;
  check_content (again);
  disk_free (again);
  slots_free (&adopted);
  superblock_close (&copy);
  CHECK_EQ (other.chunks, 0);
  inside = false;
}

/* A disk without data holds only the reserve, and reads as zeros. */
static void
test_nothing (void)
{
  begin (0, false);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS);
  check_content (disk);
  CHECK_EQ (atomic_load (&vram.reads), 0);
  CHECK_EQ (atomic_load (&shared->elastic), ELASTIC_YES);
  CHECK_EQ (atomic_load (&shared->vram_held), RESERVE_CHUNKS * SLOT);
  CHECK_EQ (atomic_load (&shared->vram_slots), 0);
  /* Writes of zeros and trims take no VRAM. */
  fill (0, 0, SIZE);
  trim (0, SIZE);
  CHECK_EQ (in_vram (), 0);
  end ();
}

/* The first write takes a chunk of zeros, and the reserve is filled again. */
static void
test_first_write (void)
{
  begin (0, false);
  fill (7, 5 * SLOT + 100, 200);
  CHECK_EQ (in_vram (), 1);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS);
  for (unsigned i = 0; i < 2; ++i)
    for (unsigned at = 0; at < SLOT; ++at) {
      unsigned char byte = memory_provider_byte (slots.chunk[i], at);

      CHECK (byte == 0 || (byte == 7 && at >= 100 && at < 300));
    }
  governor_step (governor);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS + 1);
  CHECK_EQ (vram.maps, RESERVE_CHUNKS + 1);
  CHECK_EQ (vram.spares[RESERVE_CHUNKS], SPARE_ALL);
  CHECK_EQ (atomic_load (&shared->vram_slots), SLOT);
  CHECK_EQ (atomic_load (&shared->vram_least), SLOT);
  /* Write all slots, one after the other. */
  fill_slots (SLOTS);
  check_content (disk);
  CHECK_EQ (vram.chunks, SLOTS);
  CHECK_EQ (elastic_reserve (slots.elastic), 0);
  end ();
}

/* Slots that were trimmed give their chunks back, but slots with one block do
 * not.
 */
static void
test_last_trim (void)
{
  uint32_t wakes;

  begin (0, false);
  fill_slots (SLOTS);
  wakes = atomic_load (&shared->wake);
  trim (0, SIZE - BLOCK_SIZE);
  CHECK (atomic_load (&shared->wake) != wakes);
  step_until_held (1 + RESERVE_CHUNKS);
  CHECK_EQ (in_vram (), 1);
  CHECK_EQ (atomic_load (&shared->given_back[GIVE_BACK_TRIM]),
            (SLOTS - 1 - RESERVE_CHUNKS) * SLOT);
  CHECK_EQ (vram.dirty_frees, 0);
  check_content (disk);
  trim (0, SIZE);
  step_until_held (RESERVE_CHUNKS);
  CHECK_EQ (in_vram (), 0);
  CHECK_EQ (governor_step (governor), GOVERNOR_SLEEP);
  check_content (disk);
  fill (3, SLOT - 10, 20);
  check_content (disk);
  end ();
}

/* Another program takes VRAM: the reserve goes, then empty slots at once, and
 * never data.
 */
static void
test_headroom (void)
{
  uint64_t start;

  begin (2 * SLOT, false);
  fill_slots (5);
  CHECK_EQ (vram.chunks, 5 + RESERVE_CHUNKS);
  trim (3 * SLOT, 2 * SLOT);

  vram.bytes_free = 2 * SLOT - 1;
  CHECK_EQ (governor_step (governor), 0);
  CHECK_EQ (vram.chunks, 4 + RESERVE_CHUNKS);
  CHECK_EQ (in_vram (), 5);
  vram.bytes_free = 0;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 4);
  CHECK_EQ (elastic_reserve (slots.elastic), 0);
  /* The chunk that freed the last byte was given back without need. */
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  CHECK_EQ (in_vram (), 3);
  vram.bytes_free = 0;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  CHECK_EQ (atomic_load (&shared->given_back[GIVE_BACK_HEADROOM]), 4 * SLOT);
  check_content (disk);

  /* Writes that need a chunk fail, and the log says so once. */
  slots.elastic->timeout_ms = 1;
  elastic_set_stopped (slots.elastic, false);
  for (unsigned i = 0; i < 2; ++i) {
    start = clock_ms ();
    CHECK_EQ (disk_write (disk, "x", 1, 6 * SLOT), -1);
    CHECK_EQ (errno, ENOSPC);
    CHECK_EQ (clock_ms () - start, 1);
  }
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "VRAM is short");
  /* Other writes succeed. */
  fill (8, SLOT, 2 * SLOT);
  check_content (disk);

  /* The other program ends. */
  vram.bytes_free = 12 * SLOT;
  step_until_held (3 + RESERVE_CHUNKS);
  CHECK (!slots.elastic->is_short);
  fill (4, 6 * SLOT, SLOT);
  check_content (disk);
  /* The failed writes hold no pin. */
  governor_step (governor);
  trim (6 * SLOT, SLOT);
  step_until_held (3 + RESERVE_CHUNKS);
  CHECK_EQ (in_vram (), 3);
  /* Each time that VRAM is short is logged. */
  squeeze_steps (2);
  slots.elastic->timeout_ms = TIMEOUT_MS;
  start = clock_ms ();
  CHECK_EQ (disk_write (disk, "x", 1, 6 * SLOT), -1);
  CHECK_EQ (clock_ms () - start, 1000);
  CHECK_EQ (stub_errors_count (), 2);
  end ();
}

/* Another program takes VRAM as soon as it is freed: what costs nothing is
 * given back without waiting for what was given back before.
 */
static void
test_headroom_fast (void)
{
  begin (2 * SLOT, true);
  fill_slots (5);
  trim (3 * SLOT, 2 * SLOT);
  CHECK_EQ (vram.chunks, 5 + RESERVE_CHUNKS);
  for (unsigned i = 0; i < 2; ++i) {
    vram.bytes_free = 0;
    CHECK_EQ (governor_step (governor), 0);
  }
  CHECK_EQ (vram.chunks, 3);
  CHECK_EQ (in_vram (), 3);
  check_content (disk);
  end ();
}

/* If it is not known how much VRAM is free, none is taken nor given back. */
static void
test_free_is_unknown (void)
{
  begin (2 * SLOT, false);
  fill_slots (2);
  fill (3, 2 * SLOT, SLOT);
  CHECK_EQ (vram.chunks, 2 + RESERVE_CHUNKS);
  vram.fail_free_bytes = true;
  for (unsigned i = 0; i < 2; ++i) {
    vram.bytes_free = i ? VRAM : 0;
    CHECK (governor_step (governor) != GOVERNOR_SLEEP);
    CHECK_EQ (vram.chunks, 2 + RESERVE_CHUNKS);
  }
  vram.fail_free_bytes = false;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3 + RESERVE_CHUNKS);
  end ();
}

/* How long it takes to give VRAM back counts until enough is free. */
static void
test_time_to_give_back (void)
{
  begin (2 * SLOT, true);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS - 1);
  virtual_time_pass (2);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 0);
  virtual_time_pass (3);
  vram.bytes_free = 2 * SLOT;
  governor_step (governor);
  CHECK_EQ (atomic_load (&shared->give_back_us_max), 5000);
  /* The longest time is kept. */
  look_after (21);
  vram.bytes_free = SLOT;
  governor_step (governor);
  virtual_time_pass (1);
  vram.bytes_free = 2 * SLOT;
  governor_step (governor);
  CHECK_EQ (atomic_load (&shared->give_back_us_max), 5000);
  end ();
}

/* VRAM is short when a write that needs some cannot have it, not already when
 * there is too little for the reserve.
 */
static void
test_short (void)
{
  begin (0, false);
  for (unsigned i = 0; i < RESERVE_CHUNKS; ++i)
    fill (9, i * SLOT, SLOT);
  CHECK_EQ (elastic_reserve (slots.elastic), 0);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS);
  CHECK (!slots.elastic->is_short);
  vram.bytes_free = SLOT - 1;
  governor_step (governor);
  CHECK (slots.elastic->is_short);
  end ();
}

static void
test_limit (void)
{
  begin (0, false);
  fill_slots (4);
  trim (0, SLOT);
  atomic_store (&shared->limit, 4 * SLOT);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 4);
  CHECK_EQ (atomic_load (&shared->limit_obeyed), 4 * SLOT);
  /* With a limit below the data, all the rest is given back. */
  atomic_store (&shared->limit, SLOT);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  CHECK_EQ (atomic_load (&shared->vram_least), 3 * SLOT);
  CHECK_EQ (atomic_load (&shared->limit_obeyed), 4 * SLOT);
  CHECK_EQ (atomic_load (&shared->given_back[GIVE_BACK_LIMIT]), 3 * SLOT);
  check_content (disk);
  CHECK (governor_step (governor) != GOVERNOR_SLEEP);
  virtual_time_pass (3);
  atomic_store (&shared->limit, UINT64_MAX);
  step_until_held (3 + RESERVE_CHUNKS);
  CHECK_EQ (atomic_load (&shared->limit_obeyed), UINT64_MAX);
  CHECK_EQ (atomic_load (&shared->give_back_us_max), 3000);
  end ();

  /* The governor goes on looking while it holds more than the limit. */
  begin (0, false);
  fill_slots (SLOTS);
  atomic_store (&shared->limit, SLOT);
  for (unsigned i = 0; i < 2; ++i)
    CHECK (governor_step (governor) != GOVERNOR_SLEEP);
  end ();
}

/* A limit and a tenant at the same time: what one of them gets counts for the
 * other.
 */
static void
test_limit_and_headroom (void)
{
  begin (2 * SLOT, false);
  fill_slots (5);
  trim (0, 3 * SLOT);
  CHECK_EQ (vram.chunks, 7);
  atomic_store (&shared->limit, 5 * SLOT);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 5);
  CHECK_EQ (atomic_load (&shared->limit_obeyed), 5 * SLOT);
  /* Now the tenant needs more than the limit. */
  atomic_store (&shared->limit, 4 * SLOT);
  vram.bytes_free = 0;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  check_content (disk);
  end ();
}

/* A chunk that is not in the store, or cannot be made, never holds data. */
static void
test_store_fails (void)
{
  begin (0, true);
  put_result = -1;
  fill (9, 0, SLOT);
  governor_step (governor);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS - 1);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS);
  check_adoption ();
  /* It tries again after a while, for which a write can wait. */
  CHECK (!slots.elastic->is_short);
  look_after (499);
  CHECK_EQ (put_count, 1);
  put_result = 0;
  /* An earlier server has left a descriptor of that name. */
  kept[RESERVE_CHUNKS] = fcntl (superblock.fd, F_DUPFD_CLOEXEC, 3);
  look_after (1);
  CHECK_EQ (put_count, 2);
  fill (9, SLOT, 2 * SLOT);
  check_adoption ();
  end ();

  begin (0, true);
  check_result = -1;
  fill (9, 0, SLOT);
  governor_step (governor);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS - 1);
  check_adoption ();
  end ();

  begin (0, false);
  for (int nth = 1; nth <= 2; ++nth) { /* allocate, map */
    vram.fail_nth = (unsigned) nth;
    vram.fail_result = nth;
    fill (9, (nth - 1) * SLOT, SLOT);
    governor_step (governor);
    CHECK_EQ (vram.fail_nth, 0);
    look_after (99);
    CHECK_EQ (vram.chunks, RESERVE_CHUNKS + (unsigned) nth - 1);
    CHECK (slots.elastic->is_short);
    look_after (1);
    CHECK_EQ (vram.chunks, RESERVE_CHUNKS + (unsigned) nth);
  }
  /* One chunk was freed before it held anything of the disk. */
  CHECK_EQ (vram.dirty_frees--, 1);
  end ();
}

/* A chunk that cannot be overwritten does not enter the reserve, and does not
 * stay allocated.
 */
static void
test_zero_fails (void)
{
  /* A new chunk, which is freed with what the driver had left in it. */
  begin (0, false);
  fill (9, 0, SLOT);
  vram.fail_zeros = 1;
  governor_step (governor);
  CHECK_EQ (vram.fail_zeros, 0);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS - 1);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS);
  CHECK_EQ (vram.dirty_frees--, 1);
  governor_step (governor);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS);
  end ();

  /* The chunks of trimmed slots, of which the second one can be overwritten at
   * the second try, before it is freed.
   */
  for (unsigned fails = 1; fails <= 2; ++fails) {
    begin (0, false);
    fill_slots (SLOTS);
    vram.bytes_free = 0;
    trim (0, 2 * SLOT);
    look_after (500);
    virtual_time_pass (2000);
    vram.fail_zeros = fails;
    governor_step (governor);
    CHECK_EQ (vram.fail_zeros, 0);
    CHECK_EQ (in_vram (), SLOTS - 2);
    CHECK_EQ (elastic_reserve (slots.elastic), 1);
    CHECK_EQ (vram.chunks, SLOTS - 1);
    CHECK_EQ (stub_errors_count (), fails - 1);
    if (fails == 2)
      CHECK_HOLDS (stub_errors (), "cannot overwrite VRAM");
    CHECK_EQ (vram.dirty_frees, fails - 1);
    vram.dirty_frees = 0;
    end ();
  }

  /* Those that a write waits for. */
  begin (0, false);
  vram.bytes_free = 0;
  fill_slots (RESERVE_CHUNKS);
  CHECK_EQ (elastic_reserve (slots.elastic), 0);
  trim (0, 2 * SLOT);
  slots.elastic->waiting++;
  vram.fail_zeros = 1;
  governor_step (governor);
  slots.elastic->waiting--;
  CHECK_EQ (in_vram (), 0);
  CHECK_EQ (elastic_reserve (slots.elastic), 1);
  CHECK_EQ (vram.chunks, 1);
  CHECK_EQ (vram.dirty_frees--, 1);
  end ();
}

/* With scrub=no nothing is overwritten before it is freed. */
static void
test_no_scrub (void)
{
  no_scrub = true;
  begin (0, false);
  fill_slots (SLOTS);
  atomic_store (&shared->limit, SLOT);
  trim (0, SLOT);
  vram.zeroed = 0;
  governor_step (governor);
  CHECK_EQ (vram.chunks, SLOTS - 1);
  CHECK_EQ (vram.zeroed, 0);
  CHECK_EQ (vram.dirty_frees--, 1);
  end ();
}

/* No look at a slot that holds data waits for requests, nor makes them wait.
 */
static void
test_data_is_not_disturbed (void)
{
  uint64_t word;

  for (unsigned spilled = 0; spilled < 2; ++spilled) {
    with_spill = spilled;
    begin (2 * SLOT, false);
    fill_slots (1);
    if (spilled)
      squeeze_steps (4);
    CHECK_EQ (elastic_pin (slots.elastic, 0, PIN_WRITE, &word), 0);
    CHECK_EQ (SLOT_STATE (word), spilled ? SLOT_SPILL : SLOT_VRAM);
    /* The governor looks for empty slots, and for any VRAM to give back. */
    trim (SLOT, SLOT);
    atomic_store (&slots.elastic->trimmed, true);
    atomic_store (&shared->limit, 1);
    vram.bytes_free = VRAM;
    look_after (500);
    look_after (500);
    CHECK_EQ (atomic_load (&slots.elastic->table[0]), word);
    elastic_unpin (slots.elastic, 0, PIN_WRITE);
    check_content (disk);
    end ();
  }
}

/* The reserve is filled as far as headroom and limit allow it, and some time
 * after VRAM was given back, unless a write waits.
 */
static void
test_reserve (void)
{
  begin (4 * SLOT, false);
  fill (1, 0, SLOT);
  vram.bytes_free = 6 * SLOT - 1;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 2);
  vram.bytes_free = 6 * SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  fill (1, SLOT, 2 * SLOT);
  vram.bytes_free = 5 * SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  slots.elastic->waiting++;
  vram.bytes_free = 5 * SLOT - 1;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  vram.bytes_free = 5 * SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 4);
  slots.elastic->waiting--;

  vram.bytes_free = VRAM;
  atomic_store (&shared->limit, 5 * SLOT - 1);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 4);
  atomic_store (&shared->limit, 5 * SLOT);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 5);

  atomic_store (&shared->limit, 3 * SLOT);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  atomic_store (&shared->limit, UINT64_MAX);
  look_after (1999);
  CHECK_EQ (vram.chunks, 3);
  slots.elastic->waiting++;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 4);
  slots.elastic->waiting--;
  look_after (1);
  CHECK_EQ (vram.chunks, 5);
  /* There is VRAM for one of two chunks. */
  fill (1, 3 * SLOT, 2 * SLOT);
  vram.bytes_free = 6 * SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 6);
  end ();
}

/* A slot gives its VRAM back after it has been empty for two seconds. */
static void
test_empty_for_a_while (void)
{
  begin (0, false);
  fill_slots (3);
  trim (0, SLOT);
  look_after (500);
  CHECK_EQ (atomic_load (&shared->vram_least), 2 * SLOT);
  look_after (1900);
  CHECK_EQ (vram.chunks, 3 + RESERVE_CHUNKS);
  /* It is used again, and trimmed again. */
  fill (9, 100, 10);
  look_after (500);
  trim (0, SLOT);
  look_after (500);
  look_after (1900);
  CHECK_EQ (vram.chunks, 3 + RESERVE_CHUNKS);
  look_after (500);
  CHECK_EQ (vram.chunks, 2 + RESERVE_CHUNKS);
  fill (9, 100, 10);
  trim (0, SLOT);
  look_after (500);
  CHECK_EQ (in_vram (), 3);
  /* The next server finds slots that were trimmed before. */
  CHECK_EQ (governor_free (governor), 0);
  atomic_store (&slots.elastic->trimmed, false);
  make_governor (0, false);
  step_until_held (2 + RESERVE_CHUNKS);
  check_content (disk);
  end ();
}

/* Chunks of trimmed slots become the reserve, for a write that waits at once
 * if no VRAM is free.
 */
static void
test_reuse (void)
{
  for (unsigned waiting = 0; waiting < 2; ++waiting) {
    const unsigned n = waiting ? RESERVE_CHUNKS : SLOTS;

    begin (0, false);
    vram.bytes_free = waiting ? 0 : VRAM;
    fill_slots (n);
    CHECK_EQ (elastic_reserve (slots.elastic), 0);
    trim (0, RESERVE_CHUNKS * SLOT);
    governor_step (governor);
    CHECK_EQ (in_vram (), n);
    slots.elastic->waiting += waiting;
    for (unsigned i = 0; i < (waiting ? 1 : 6); ++i)
      look_after (500);
    slots.elastic->waiting -= waiting;
    CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS);
    CHECK_EQ (vram.chunks, n);
    check_reserve ();
    end ();
  }

  /* If too little is free for a reserve, they are given back. */
  begin (0, false);
  vram.bytes_free = 0;
  fill_slots (RESERVE_CHUNKS);
  trim (0, SLOT);
  look_after (500);
  look_after (2000);
  CHECK_EQ (vram.chunks, RESERVE_CHUNKS - 1);
  CHECK_EQ (elastic_reserve (slots.elastic), 0);
  end ();
}

/* If a look at the slots takes long, the next one follows at once. */
static void
pass_600_ms (void)
{
  virtual_time_pass (600);
}

static void
test_slow_scan (void)
{
  begin (0, false);
  fill_slots (3);
  trim (SLOT, SLOT);
  look_after (500);
  virtual_time_pass (2000);
  trim (0, SLOT);
  vram.called = pass_600_ms;
  CHECK_EQ (governor_step (governor), 0);
  vram.called = NULL;
  CHECK_EQ (in_vram (), 2);
  end ();
}

/* How often the governor looks at free VRAM. */
static void
test_looks (void)
{
  begin (2 * SLOT, false);
  CHECK_EQ (governor_step (governor), 100);
  vram.bytes_free = 64 * MiB;
  CHECK_EQ (governor_step (governor), 1);
  CHECK_EQ (look_after (9999), 1);
  CHECK_EQ (look_after (1), 100);
  vram.bytes_free -= 16 * MiB;
  CHECK_EQ (governor_step (governor), 100);
  vram.bytes_free -= 1;
  CHECK_EQ (governor_step (governor), 1);
  end ();

  /* What the governor itself takes and gives back is no change. */
  large = true;
  begin (LARGE_SLOT, false);
  governor_step (governor);
  CHECK_EQ (look_after (10000), 100);
  atomic_store (&shared->limit, LARGE_SLOT);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 1);
  /* But soon more may have to be given back. */
  CHECK_EQ (look_after (9999), 1);
  CHECK_EQ (look_after (1), 100);
  atomic_store (&shared->limit, UINT64_MAX);
  CHECK_EQ (governor_step (governor), 100);
  CHECK_EQ (vram.chunks, 2);
  CHECK_EQ (governor_step (governor), 100);
  end ();
}

/* The disk can be taken over at every step of taking, freeing and moving. */
static void
adopt_at_each_step (void)
{
  struct rnd rnd;

  rnd_begin (&rnd, 5);
  begin (0, true);
  vram.before = before_copy;
  vram.called = at_step;
  check_each_step = true;
  for (unsigned n = 0; n < check_effort (200); ++n) {
    uint64_t first = rnd_below (&rnd, SIZE / BLOCK_SIZE);
    uint32_t count = (uint32_t) rnd_below (&rnd, 6) + 1;

    /* In one slot, because there may be only one chunk. */
    if (first % 4 + count > 4)
      count = (uint32_t) (4 - first % 4);
    /* A step may see the content before or after the write. */
    if (rnd_below (&rnd, 3) == 0) {
      check_each_step = false;
      fill ((unsigned char) (1 + rnd_below (&rnd, 255)), first * BLOCK_SIZE,
            count * BLOCK_SIZE);
      check_each_step = true;
    }
    else
      trim (first * BLOCK_SIZE, count * BLOCK_SIZE);
    atomic_store (&shared->limit, rnd_below (&rnd, 4) ? UINT64_MAX : SLOT);
    governor_step (governor);
    atomic_store (&shared->limit, UINT64_MAX);
    /* As if a write waited: the reserve is filled at once. */
    slots.elastic->waiting++;
    while (elastic_reserve (slots.elastic) == 0 && in_vram () < SLOTS)
      governor_step (governor);
    slots.elastic->waiting--;
    check_adoption ();
  }
  if (check_effort (200) == 200)
    CHECK (put_count > 10 && remove_count > 10);
  check_each_step = false;
  for (unsigned i = 0; i < slots.count; ++i)
    CHECK_EQ (kept[i] != -1, slots.chunk[i] != NULL);
  end ();
}

static void
test_adoption (void)
{
  adopt_at_each_step ();
}

static void
test_adoption_moves (void)
{
  restless = with_spill = true;
  adopt_at_each_step ();
}

/* Data moves to the file when other programs need VRAM, is served from there,
 * and moves back.
 */
static void
test_spill (void)
{
  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (5);
  trim (2 * SLOT, SLOT - BLOCK_SIZE);
  CHECK_EQ (atomic_load (&shared->vram_least), 0);
  check_content (disk); /* so that no slot is cold */
  vram.bytes_free = SLOT;
  governor_step (governor);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  /* The slot with the least data is the first one. */
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (atomic_load (&shared->moves_out), 1);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[2]), SLOT_SPILL);
  CHECK_EQ (atomic_load (&shared->spilled), SLOT);
  check_content (disk);
  /* Then all slots. */
  squeeze_steps (4);
  CHECK_EQ (vram.chunks, 0);
  CHECK_EQ (atomic_load (&shared->spilled), 5 * SLOT);
  CHECK_EQ (atomic_load (&shared->spill_size), SIZE);
  check_content (disk);

  /* Requests of all kinds to spilled slots, and new slots that spill. */
  fill (9, SLOT + 100, 200);
  fill (9, 2 * SLOT - 10, 20);
  fill (0, 3 * SLOT, SLOT);
  fill (8, 3 * SLOT + BLOCK_SIZE + 1, BLOCK_SIZE);
  check_content (disk);
  elastic_set_stopped (slots.elastic, false);
  vram.bytes_free = 0;
  governor_step (governor);
  fill (7, 6 * SLOT + 5, 2 * SLOT - 5);
  check_content (disk);
  CHECK_EQ (stub_errors_count (), 0);

  /* Slots that were trimmed there are empty. */
  trim (6 * SLOT, 2 * SLOT);
  while (SLOT_STATE (atomic_load (&slots.elastic->table[7])) != SLOT_EMPTY) {
    vram.bytes_free = 0;
    governor_step (governor);
    virtual_time_pass (1);
  }
  check_content (disk);

  /* The other program ends. */
  vram.bytes_free = VRAM;
  step_until_held (5 + RESERVE_CHUNKS);
  CHECK_EQ (atomic_load (&shared->moves_back), 5);
  CHECK_EQ (atomic_load (&shared->spilled), 0);
  check_content (disk);
  end ();
}

/* No slot moves for VRAM that was given back, and that other programs have not
 * released yet.
 */
static void
test_released_later (void)
{
  with_spill = true;
  begin (2 * SLOT, true);
  fill_slots (5);
  squeeze_steps (1);
  CHECK_EQ (vram.chunks, 5);
  virtual_time_pass (20);
  squeeze_steps (1);
  CHECK_EQ (vram.chunks, 5);
  virtual_time_pass (1);
  squeeze_steps (1);
  CHECK_EQ (vram.chunks, 3);
  CHECK_EQ (atomic_load (&shared->moves_out), 2);
  /* When they have, it counts once. */
  vram.bytes_free = 2 * SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 3);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 2);
  /* So does what they have released of their own. */
  vram.bytes_free = 7 * SLOT / 2;
  governor_step (governor);
  vram.bytes_free = SLOT;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 1);
  end ();

  /* What was free before was not released. */
  with_spill = true;
  begin (2 * SLOT, true);
  fill_slots (5);
  for (unsigned i = 0; i < 4; ++i) {
    vram.bytes_free = SLOT;
    governor_step (governor);
  }
  CHECK_EQ (vram.chunks, 5);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  end ();
}

/* Slots move back when VRAM has been free for five seconds, one each 200 ms,
 * those that are used first.
 */
static void
test_spill_back (void)
{
  unsigned char buf[8];

  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (4);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->moves_out), 4);
  vram.bytes_free = VRAM;
  look_after (4999);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS);
  CHECK_EQ (atomic_load (&shared->moves_back), 0);
  for (unsigned i = 0; i < SLOTS; ++i)
    atomic_store (&slots.elastic->cold[i], true);
  CHECK_EQ (disk_read (disk, buf, sizeof buf, 2 * SLOT), 0);
  look_after (1);
  CHECK_EQ (atomic_load (&shared->moves_back), 1);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[2]), SLOT_VRAM);
  /* Every five seconds all slots become cold. */
  CHECK (atomic_load (&slots.elastic->cold[2]));
  look_after (199);
  CHECK_EQ (atomic_load (&shared->moves_back), 1);
  look_after (1);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);

  look_after (199);
  vram.bytes_free = 5 * SLOT - 1;
  look_after (1);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);
  vram.bytes_free = VRAM;
  atomic_store (&shared->limit, vram.chunks * SLOT);
  look_after (200);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);
  atomic_store (&shared->limit, UINT64_MAX);
  vram.bytes_free = 5 * SLOT;
  look_after (1);
  CHECK_EQ (atomic_load (&shared->moves_back), 3);
  check_content (disk);
  end ();
}

/* Data that moved because of a limit moves back without a headroom, too, as
 * far as VRAM is free.
 */
static void
test_spill_limit (void)
{
  with_spill = true;
  begin (0, false);
  fill_slots (2);
  atomic_store (&shared->limit, 1);
  governor_step (governor);
  CHECK_EQ (vram.chunks, 0);
  CHECK_EQ (atomic_load (&shared->moves_out), 2);
  atomic_store (&shared->limit, UINT64_MAX);
  CHECK (look_after (2000) != GOVERNOR_SLEEP);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS);
  vram.bytes_free = 3 * SLOT - 1;
  CHECK (look_after (3000) != GOVERNOR_SLEEP);
  CHECK_EQ (atomic_load (&shared->moves_back), 0);
  vram.bytes_free = VRAM;
  step_until_held (2 + RESERVE_CHUNKS);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);
  check_content (disk);
  end ();
}

/* No slot takes the last chunk of the reserve while no other one can be made.
 */
/* If the rest is in VRAM, the reserve is of use to slots in the file only. */
static void
test_spill_back_last (void)
{
  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (SLOTS);
  squeeze_steps (2);
  CHECK_EQ (atomic_load (&shared->moves_out), 4);
  vram.bytes_free = VRAM;
  look_after (5000);
  look_after (200);
  look_after (1);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);
  CHECK_EQ (vram.chunks, SLOTS);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS);
  vram.bytes_free = 3 * SLOT - 1;
  look_after (200);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);
  atomic_store (&shared->limit, SLOTS * SLOT);
  vram.bytes_free = 3 * SLOT;
  look_after (200);
  look_after (200);
  CHECK_EQ (atomic_load (&shared->moves_back), 4);
  CHECK_EQ (atomic_load (&shared->spilled), 0);
  CHECK_EQ (elastic_reserve (slots.elastic), 0);
  CHECK_EQ (vram.chunks, SLOTS);
  check_content (disk);
  end ();
}

static void
test_spill_back_later (void)
{
  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (2);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->moves_out), 2);
  vram.bytes_free = VRAM;
  /* Of allocate, map and allocate the last one. */
  vram.fail_nth = 3;
  vram.fail_result = 1;
  look_after (5000);
  CHECK_EQ (elastic_reserve (slots.elastic), RESERVE_CHUNKS - 1);
  CHECK_EQ (atomic_load (&shared->moves_back), 0);
  look_after (100);
  CHECK_EQ (atomic_load (&shared->moves_back), 1);
  end ();
}

/* A copy that fails in the middle. */
static size_t
fail_copy (bool write, size_t count)
{
  (void) write;
  return count / 2;
}

/* A slot whose move fails stays in its place. */
static void
test_spill_move_fails (void)
{
  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (1);
  vram.before = fail_copy;
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  vram.before = NULL;
  check_content (disk);
  squeeze_steps (1);
  CHECK_EQ (atomic_load (&shared->moves_out), 1);

  vram.bytes_free = VRAM;
  vram.before = fail_copy;
  atomic_store (&vram.writes, 0);
  look_after (5000);
  CHECK_EQ (atomic_load (&vram.writes), 1);
  CHECK_EQ (atomic_load (&shared->moves_back), 0);
  check_reserve ();
  vram.before = NULL;
  check_content (disk);
  fill (7, 100, 10);
  look_after (59999);
  CHECK_EQ (atomic_load (&shared->moves_back), 0);
  look_after (1);
  CHECK_EQ (atomic_load (&shared->moves_back), 1);
  check_content (disk);
  end ();
}

/* A read that has found data, and is overtaken by a trim, does not see what
 * the file held earlier.
 */
static void
test_spill_trimmed (void)
{
  unsigned char buf[3 * BLOCK_SIZE];

  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (2);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->spilled), 2 * SLOT);
  trim (SLOT + BLOCK_SIZE, 2 * BLOCK_SIZE);
  CHECK_EQ (slots_read (&slots, buf, sizeof buf, SLOT + 100), 0);
  CHECK (memcmp (buf, model + SLOT + 100, sizeof buf) == 0);
  /* Nor one that ends in a trimmed block. */
  memset (buf, 0x5a, sizeof buf);
  CHECK_EQ (slots_read (&slots, buf, 300, SLOT + BLOCK_SIZE + 100), 0);
  CHECK (memcmp (buf, model + SLOT + BLOCK_SIZE + 100, 300) == 0);
  CHECK_EQ (buf[300], 0x5a);
  /* Nor does one that comes when the slot has moved back. */
  vram.bytes_free = VRAM;
  step_until_held (2 + RESERVE_CHUNKS);
  CHECK_EQ (atomic_load (&shared->moves_back), 2);
  CHECK_EQ (slots_read (&slots, buf, sizeof buf, SLOT + 100), 0);
  CHECK (memcmp (buf, model + SLOT + 100, sizeof buf) == 0);
  end ();
}

/* The last slot moves although the disk ends in it. */
static void
test_spill_end (void)
{
  const uint32_t count = SLOT - BLOCK_SIZE;
  unsigned char buf[SLOT];

  with_spill = true;
  lacking = BLOCK_SIZE;
  begin (2 * SLOT, false);
  fill (7, SIZE - SLOT, count);
  squeeze_steps (2);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[SLOTS - 1]), SLOT_SPILL);
  CHECK_EQ (disk_read (disk, buf, count, SIZE - SLOT), 0);
  CHECK (memcmp (buf, model + SIZE - SLOT, count) == 0);
  vram.bytes_free = VRAM;
  look_after (5000);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[SLOTS - 1]), SLOT_VRAM);
  CHECK_EQ (disk_read (disk, buf, count, SIZE - SLOT), 0);
  CHECK (memcmp (buf, model + SIZE - SLOT, count) == 0);
  trim (SIZE - SLOT, count);
  step_until_held (RESERVE_CHUNKS);
  end ();
}

static unsigned char content[LARGE_SLOT], seen[LARGE_SLOT];

/* Large slots move in pieces, without long parts that hold no data. */
static void
test_spill_large (void)
{
  static const struct {
    uint32_t offset, count;
  } data[] = {
    { 0, BLOCK_SIZE },
    { 100 * BLOCK_SIZE, 20 * MiB }, /* more than a piece */
    { 26 * MiB, BLOCK_SIZE },
    { 26 * MiB + 5 * BLOCK_SIZE, BLOCK_SIZE },
    { LARGE_SLOT - BLOCK_SIZE, BLOCK_SIZE },
  };

  with_spill = large = true;
  begin (2 * LARGE_SLOT, false);
  memset (content, 0, LARGE_SLOT);
  for (unsigned i = 0; i < sizeof data / sizeof data[0]; ++i) {
    for (uint32_t at = 0; at < data[i].count; at += 512)
      memset (content + data[i].offset + at, (int) (1 + at / 512 % 251), 512);
    CHECK_EQ (disk_write (disk, content + data[i].offset, data[i].count,
                          LARGE_SLOT + data[i].offset),
              0);
  }
  atomic_store (&vram.reads, 0);
  squeeze_steps (3);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[1]), SLOT_SPILL);
  CHECK_EQ (atomic_load (&vram.reads), 5);
  CHECK_EQ (disk_read (disk, seen, LARGE_SLOT, LARGE_SLOT), 0);
  CHECK (memcmp (seen, content, LARGE_SLOT) == 0);
  vram.bytes_free = 16 * LARGE_SLOT;
  look_after (5000);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[1]), SLOT_VRAM);
  CHECK_EQ (slots_read (&slots, seen, LARGE_SLOT, LARGE_SLOT), 0);
  CHECK (memcmp (seen, content, LARGE_SLOT) == 0);
  end ();
}

static void
answer_slowly (void)
{
  virtual_time_pass (400);
  atomic_store (&spill_disk.hangs, atomic_load (&spill_disk.submitted) > 0);
}

/* A disk that answers each request in time, but is too slow for the whole
 * move: the move is given up.
 */
static void
test_spill_slow (void)
{
  with_spill = large = true;
  spill_timeout_ms = 1000;
  begin (2 * LARGE_SLOT, false);
  memset (content, 3, LARGE_SLOT);
  CHECK_EQ (disk_write (disk, content, LARGE_SLOT, 0), 0);
  atomic_store (&spill_disk.submitted, 0);
  spill_disk.asked = answer_slowly;
  squeeze_steps (1);
  spill_disk.asked = NULL;
  CHECK_EQ (atomic_load (&spill_disk.submitted), 2);
  CHECK_EQ (atomic_load (&spill_disk.limit_ms), 200);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  CHECK_HOLDS (stub_errors (),
               "cannot write the spill file: its disk has not");
  spill_disk_goes_on ();
  squeeze_steps (1);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  CHECK_EQ (disk_read (disk, seen, LARGE_SLOT, 0), 0);
  CHECK (memcmp (seen, content, LARGE_SLOT) == 0);
  end ();
}

static size_t
read_meanwhile (bool write, size_t count)
{
  (void) write;
  vram.before = NULL;
  check_content (disk);
  vram.before = read_meanwhile;
  return count;
}

/* A slot can be read while its data is copied. */
static void
test_spill_read_meanwhile (void)
{
  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (1);
  vram.before = read_meanwhile;
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->moves_out), 1);
  vram.bytes_free = VRAM;
  look_after (5000);
  CHECK_EQ (atomic_load (&shared->moves_back), 1);
  vram.before = NULL;
  check_content (disk);
  end ();
}

/* A write into an empty slot keeps the slot's place from being given up. */
static atomic_bool writer_holds;
static atomic_uint writers;

static size_t
hold_write (bool write, size_t count)
{
  atomic_fetch_add (&writers, write);
  while (atomic_load (&writer_holds))
    sched_yield ();
  return count;
}

static void *
write_again (void *arg)
{
  (void) arg;
  fill (8, 10, 100);
  return NULL;
}

static void *
look (void *arg)
{
  (void) arg;
  governor_step (governor);
  return NULL;
}

static void
test_written_while_empty (void)
{
  pthread_t writer, looker;

  for (unsigned spilled = 0; spilled < 2; ++spilled) {
    with_spill = true;
    begin (2 * SLOT, false);
    fill_slots (1);
    if (spilled)
      squeeze_steps (4);
    trim (0, SLOT);
    /* The governor finds it empty, and then empty for long enough. */
    if (!spilled)
      look_after (500);
    virtual_time_pass (5000);
    atomic_store (&writers, 0);
    atomic_store (&writer_holds, true);
    vram.before = hold_write;
    atomic_store (&spill_disk.hangs, spilled);
    CHECK_EQ (pthread_create (&writer, NULL, write_again, NULL), 0);
    while (atomic_load (&writers) + atomic_load (&spill_disk.waiting) == 0)
      sched_yield ();
    CHECK_EQ (pthread_create (&looker, NULL, look, NULL), 0);
    while (!(atomic_load (&slots.elastic->table[0]) & SLOT_LOCKED))
      sched_yield ();
    atomic_store (&writer_holds, false);
    spill_disk_goes_on ();
    CHECK_EQ (pthread_join (writer, NULL), 0);
    CHECK_EQ (pthread_join (looker, NULL), 0);
    CHECK_EQ (SLOT_STATE (slots.elastic->table[0]),
              spilled ? SLOT_SPILL : SLOT_VRAM);
    vram.before = NULL;
    check_content (disk);
    end ();
  }
}

/* A request that meets a flag of its slot waits for the slot's new place. */
static atomic_uint requests_ended;

/* Writes to the block *BLOCK of the first slot, or reads if that is NULL. */
static void *
read_or_write (void *block)
{
  unsigned char buf[8];

  if (block) {
    memset (buf, 7, sizeof buf);
    CHECK_EQ (disk_write (disk, buf, 8, *(unsigned *) block * BLOCK_SIZE), 0);
  }
  else {
    CHECK_EQ (slots_read (&slots, buf, sizeof buf, 0), 0);
    CHECK_EQ (buf[0], 0);
  }
  atomic_fetch_add (&requests_ended, 1);
  return NULL;
}

static void
test_flags (void)
{
  static unsigned block[2] = { 0, 1 };

  for (unsigned i = 0; i < 3; ++i) {
    const uint64_t flag = i == 1 ? SLOT_FROZEN : SLOT_LOCKED;
    const bool writes = i > 0;
    pthread_t thread[2];
    uint64_t word;

    begin (0, false);
    fill_slots (1);
    word = atomic_load (&slots.elastic->table[0]);
    CHECK (elastic_stop (slots.elastic, 0, word, flag));
    atomic_store (&requests_ended, 0);
    for (unsigned t = 0; t < 2; ++t)
      CHECK_EQ (pthread_create (&thread[t], NULL, read_or_write,
                                writes ? &block[t] : NULL),
                0);
    /* They have the time to fail, but need not have begun. */
    usleep (20000);
    CHECK_EQ (atomic_load (&requests_ended), 0);
    elastic_go_on (slots.elastic, 0, writes ? word : SLOT_EMPTY);
    for (unsigned t = 0; t < 2; ++t) {
      CHECK_EQ (pthread_join (thread[t], NULL), 0);
      if (writes)
        memset (model + block[t] * BLOCK_SIZE, 7, 8);
    }
    /* No flag stays, and a slot that has changed its place is not stopped. */
    elastic_go_on (slots.elastic, 0, word | SLOT_FROZEN | SLOT_LOCKED);
    CHECK_EQ (atomic_load (&slots.elastic->table[0]), word);
    CHECK (!elastic_stop (slots.elastic, 0, SLOT_EMPTY, SLOT_LOCKED));
    CHECK_EQ (atomic_load (&slots.elastic->table[0]), word);
    check_content (disk);
    end ();
  }
}

/* A request keeps its slot in its place until it ends, whichever thread serves
 * it; a read does not keep writes from being stopped.
 */
static atomic_bool has_pinned, may_unpin;

static void *
pin_for_a_while (void *writes)
{
  const enum pin kind = writes ? PIN_WRITE : PIN_READ;
  uint64_t word;

  CHECK_EQ (elastic_pin (slots.elastic, 0, kind, &word), 0);
  atomic_store (&has_pinned, true);
  while (!atomic_load (&may_unpin))
    sched_yield ();
  elastic_unpin (slots.elastic, 0, kind);
  return NULL;
}

/* With the GPU lost, elastic_stop fails instead of waiting. */
static bool
can_stop (uint64_t flag)
{
  const uint64_t word = atomic_load (&slots.elastic->table[0]);
  const bool r = elastic_stop (slots.elastic, 0, word, flag);

  elastic_go_on (slots.elastic, 0, word);
  return r;
}

static void
test_pins (void)
{
  begin (0, false);
  fill_slots (1);
  elastic_fail (slots.elastic);
  /* Some threads share a shard. */
  for (unsigned i = 0; i < 3 * PIN_SHARDS; ++i) {
    const bool writes = i % 3 == 0;
    pthread_t thread;

    atomic_store (&has_pinned, false);
    atomic_store (&may_unpin, false);
    CHECK_EQ (pthread_create (&thread, NULL, pin_for_a_while,
                              writes ? &has_pinned : NULL),
              0);
    while (!atomic_load (&has_pinned))
      sched_yield ();
    CHECK (!can_stop (SLOT_LOCKED));
    CHECK_EQ (can_stop (SLOT_FROZEN), !writes);
    atomic_store (&may_unpin, true);
    CHECK_EQ (pthread_join (thread, NULL), 0);
    CHECK (can_stop (SLOT_LOCKED));
  }
  end ();
}

/* Of slots with as much data, the one that no request has met gives way. */
static void
test_spill_cold (void)
{
  unsigned char buf[8];

  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (4);
  /* No look at the slots for five seconds. */
  for (unsigned i = 0; i < SLOTS; ++i)
    atomic_store (&slots.elastic->cold[i], true);
  CHECK_EQ (disk_read (disk, buf, sizeof buf, 0), 0);
  CHECK_EQ (disk_write (disk, buf, sizeof buf, SLOT), 0);
  CHECK_EQ (disk_read (disk, buf, sizeof buf, 3 * SLOT), 0);
  for (unsigned i = 0; atomic_load (&shared->moves_out) == 0; ++i) {
    CHECK (i < 4);
    vram.bytes_free = SLOT;
    governor_step (governor);
  }
  CHECK_EQ (SLOT_STATE (slots.elastic->table[2]), SLOT_SPILL);
  CHECK_EQ (in_vram (), 3);
  end ();
}

/* A slot with little data gives way even if it is in use: one with less than
 * an eighth of its size.
 */
static void
test_spill_little (void)
{
  const uint32_t eighth = LARGE_SLOT / 8;

  memset (content, 7, sizeof content);
  for (unsigned lacks = 0; lacks < 2; ++lacks) {
    with_spill = large = true;
    begin (2 * LARGE_SLOT, false);
    CHECK_EQ (disk_write (disk, content, eighth - lacks * BLOCK_SIZE, 0), 0);
    CHECK_EQ (disk_write (disk, content, 2 * eighth, LARGE_SLOT), 0);
    atomic_store (&slots.elastic->cold[1], true);
    vram.bytes_free = LARGE_SLOT;
    governor_step (governor);
    CHECK_EQ (atomic_load (&shared->moves_out), 1);
    CHECK_EQ (SLOT_STATE (slots.elastic->table[lacks ? 0 : 1]), SLOT_SPILL);
    end ();
  }
}

/* The next server overwrites what the superblock does not call ready. */
static void
test_spill_ready (void)
{
  char reason[SPILL_REASON];

  with_spill = true;
  begin (0, true);
  CHECK (elastic_can_spill (slots.elastic, SLOTS - 1));
  atomic_store (&shared->spill_size, 2 * SLOT - 1);
  CHECK (elastic_can_spill (slots.elastic, 0));
  CHECK (!elastic_can_spill (slots.elastic, 1));

  /* The governor does not sleep until all of the file is ready. */
  CHECK_EQ (governor_step (governor), GOVERNOR_SLEEP);
  slots.elastic->spill =
      spill_open (NULL, fcntl (spill_fd (spill), F_DUPFD_CLOEXEC, 3), SIZE,
                  SLOT, TIMEOUT_MS, reason);
  CHECK (slots.elastic->spill != NULL);
  CHECK (governor_step (governor) != GOVERNOR_SLEEP);
  CHECK_EQ (atomic_load (&shared->spill_size), SLOT);
  CHECK_EQ (spill_start (slots.elastic->spill), 0);
  while (governor_step (governor) != GOVERNOR_SLEEP)
    sched_yield ();
  CHECK_EQ (atomic_load (&shared->spill_size), SIZE);
  spill_close (slots.elastic->spill);
  slots.elastic->spill = spill;
  end ();

  /* So no new slot lies there, and no data moves there. */
  with_spill = true;
  begin (2 * SLOT, false);
  fill_slots (1);
  squeeze_steps (2);
  CHECK (slots.elastic->is_short);
  atomic_store (&shared->spill_size, (SLOTS - 1) * SLOT);
  elastic_set_stopped (slots.elastic, false);
  CHECK_EQ (disk_write (disk, "x", 1, (SLOTS - 1) * SLOT), -1);
  CHECK_EQ (errno, ENOSPC);
  fill (1, (SLOTS - 2) * SLOT, 1);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[SLOTS - 2]), SLOT_SPILL);
  end ();
  restless = with_spill = true;
  begin (0, true);
  slots.elastic->spill =
      spill_open (NULL, fcntl (spill_fd (spill), F_DUPFD_CLOEXEC, 3), SIZE, 0,
                  TIMEOUT_MS, reason);
  CHECK (slots.elastic->spill != NULL);
  CHECK (spill_move_buffer (slots.elastic->spill, SLOT) != NULL);
  atomic_store (&shared->spill_size, 0);
  fill (1, 0, 1);
  for (unsigned i = 0; i < 20 * SLOTS; ++i)
    governor_step (governor);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  spill_close (slots.elastic->spill);
  slots.elastic->spill = spill;
  end ();
}

/* If the file cannot be written, data stays in VRAM.  If it cannot be read,
 * requests fail with EIO.
 */
static void
test_spill_fails (void)
{
  unsigned char buf[8];

  with_spill = true;
  begin (2 * SLOT, false);
  fill (9, 0, SLOT);
  fill (9, SLOT, SLOT);
  CHECK_EQ (fcntl (spill_fd (spill), F_ADD_SEALS, F_SEAL_WRITE), 0);
  squeeze_steps (4);
  CHECK_EQ (vram.chunks, 2);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  CHECK_EQ (atomic_load (&shared->vram_least), 2 * SLOT);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "cannot write the spill file");
  check_content (disk);
  end ();

  with_spill = true;
  begin (2 * SLOT, false);
  fill (9, 0, 2 * SLOT);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->moves_out), 2);
  CHECK_EQ (ftruncate (spill_fd (spill), 0), 0);
  CHECK_EQ (disk_read (disk, buf, sizeof buf, 0), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (disk_read (disk, buf, sizeof buf, SLOT), -1);
  CHECK_HOLDS (stub_errors (), "cannot read the spill file");
  CHECK_EQ (stub_errors_count (), 1);
  /* No data moves back, and the data in the file stays there. */
  for (unsigned i = 0; i < 4; ++i) {
    vram.bytes_free = VRAM;
    governor_step (governor);
  }
  CHECK_EQ (atomic_load (&shared->spilled), 2 * SLOT);
  end ();
}

/* A read or write that the disk does not answer fails in time, and so do all
 * after it at once until the disk answers; the rest of the disk is served.
 */
static void
test_spill_hangs (void)
{
  unsigned char buf[SLOT];
  unsigned before;

  with_spill = true;
  spill_timeout_ms = 50;
  begin (2 * SLOT, false);
  fill (9, 0, 2 * SLOT);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->moves_out), 2);
  vram.bytes_free = VRAM;
  step_until_held (RESERVE_CHUNKS);
  fill (5, 4 * SLOT, SLOT);

  atomic_store (&spill_disk.hangs, true);
  CHECK_EQ (disk_read (disk, buf, SLOT, 0), -1);
  CHECK_EQ (errno, EIO);
  before = atomic_load (&spill_disk.submitted);
  CHECK_EQ (disk_read (disk, buf, SLOT, 0), -1);
  CHECK_EQ (disk_write (disk, buf, 10, SLOT), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (atomic_load (&spill_disk.submitted), before);
  CHECK_EQ (disk_read (disk, buf, SLOT, 4 * SLOT), 0);
  CHECK (memcmp (buf, model + 4 * SLOT, SLOT) == 0);
  fill (6, 4 * SLOT + 1, 100);
  CHECK (!elastic_can_spill (slots.elastic, 0));
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "its disk has not answered for 50 ms");
  spill_disk_goes_on ();
  CHECK (elastic_can_spill (slots.elastic, 0));
  check_content (disk);
  fill (7, SLOT + 10, 100);
  check_content (disk);
  end ();

  /* While a slot moves out: it stays, and nothing moves there any more. */
  with_spill = true;
  spill_timeout_ms = 50;
  begin (2 * SLOT, false);
  fill (9, 0, SLOT);
  fill (8, SLOT, SLOT);
  atomic_store (&spill_disk.hangs, true);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&spill_disk.waiting), 1);
  CHECK_EQ (atomic_load (&shared->moves_out), 0);
  CHECK_EQ (vram.chunks, 2);
  fill (7, 100, 2 * SLOT - 200);
  check_content (disk);
  spill_disk_goes_on ();
  vram.bytes_free = 0;
  governor_step (governor);
  CHECK_EQ (vram.chunks, 2);
  check_content (disk);
  end ();

  /* While one moves back: it stays.  The next try is a minute later. */
  with_spill = true;
  spill_timeout_ms = 50;
  begin (2 * SLOT, false);
  fill (9, 0, SLOT);
  squeeze_steps (4);
  CHECK_EQ (atomic_load (&shared->spilled), SLOT);
  atomic_store (&spill_disk.hangs, true);
  while (atomic_load (&spill_disk.waiting) == 0) {
    vram.bytes_free = VRAM;
    governor_step (governor);
    virtual_time_pass (1);
  }
  CHECK_EQ (atomic_load (&shared->spilled), SLOT);
  CHECK_EQ (atomic_load (&shared->moves_back), 0);
  spill_disk_goes_on ();
  check_content (disk);
  end ();
}

/*
 * Threads.
 */

#define THREADS 4
#define PART    (BLOCK_SIZE / THREADS)

static atomic_uint toss;
static atomic_bool stop;

static void
dawdle (void)
{
  if (atomic_fetch_add (&toss, 1) % 5 == 0)
    sched_yield ();
}

struct owner {
  pthread_t thread;
  unsigned self;
  struct part {
    unsigned char byte;
    bool maybe_zero; /* it may have been trimmed since */
  } part[SIZE / BLOCK_SIZE];
};

static void
check_part (struct owner *owner, unsigned block)
{
  struct part *part = &owner->part[block];
  unsigned char buf[PART];

  CHECK_EQ (
      disk_read (disk, buf, PART, block * BLOCK_SIZE + owner->self * PART), 0);
  for (unsigned i = 0; i < PART; ++i)
    if (buf[i] != part->byte && !(buf[i] == 0 && part->maybe_zero))
      check_fail (__FILE__, __LINE__,
                  "thread %u, block %u, byte %u: %02x not %02x", owner->self,
                  block, i, buf[i], part->byte);
}

/* Set when each case has occurred. */
static bool
has_seen_all (void)
{
  return spill ? atomic_load (&shared->moves_back) > 0
               : atomic_load (&shared->given_back[GIVE_BACK_LIMIT]) > 0;
}

static void
write_part (const unsigned char *buf, uint64_t offset)
{
  /* While VRAM is short a write waits for a second only, which may be too
   * short.
   */
  while (disk_write (disk, buf, PART, offset) == -1)
    CHECK_EQ (errno, ENOSPC);
}

static void *
own (void *arg)
{
  struct owner *owner = arg;
  unsigned char buf[PART];
  struct rnd rnd;

  rnd_begin (&rnd, owner->self);
  for (unsigned i = 0; i < check_effort (8000) || !has_seen_all (); ++i) {
    unsigned block = (unsigned) rnd_below (&rnd, SIZE / BLOCK_SIZE);
    struct part *part = &owner->part[block];

    if (rnd_below (&rnd, 3)) {
      part->byte = (unsigned char) rnd_below (&rnd, 256);
      part->maybe_zero = true;
      memset (buf, part->byte, PART);
      write_part (buf, block * BLOCK_SIZE + owner->self * PART);
    }
    check_part (owner, block);
  }
  return NULL;
}

/* Trims slots, and takes VRAM away for short times. */
static void *
squeeze (void *arg)
{
  struct rnd rnd;

  (void) arg;
  rnd_begin (&rnd, 99);
  while (!atomic_load (&stop)) {
    disk_trim (disk, (uint32_t) (1 + rnd_below (&rnd, 2)) * SLOT,
               rnd_below (&rnd, SLOTS - 1) * SLOT);
    atomic_store (&shared->limit, rnd_below (&rnd, 2) ? UINT64_MAX : SLOT);
    elastic_wake (slots.elastic);
    for (unsigned i = 0; i < 20; ++i)
      sched_yield ();
    atomic_store (&shared->limit, UINT64_MAX);
    elastic_wake (slots.elastic);
  }
  return NULL;
}

static void
use_threads (void)
{
  static struct owner owner[THREADS];
  pthread_t squeezer;
  uint64_t given_back;

  memset (owner, 0, sizeof owner);
  begin (0, true);
  virtual_time_end ();
  vram.pause = dawdle;
  CHECK_EQ (governor_start (governor), 0);
  atomic_store (&stop, false);
  CHECK_EQ (pthread_create (&squeezer, NULL, squeeze, NULL), 0);
  for (unsigned i = 0; i < THREADS; ++i) {
    owner[i].self = i;
    CHECK_EQ (pthread_create (&owner[i].thread, NULL, own, &owner[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (owner[i].thread, NULL);
  atomic_store (&stop, true);
  pthread_join (squeezer, NULL);
  for (unsigned i = 0; i < THREADS; ++i)
    for (unsigned b = 0; b < SIZE / BLOCK_SIZE; ++b)
      check_part (&owner[i], b);
  given_back = atomic_load (&shared->given_back[GIVE_BACK_LIMIT]);
  printf ("  %" PRIu64 " chunks given back, %" PRIu64 " moves, %" PRIu64
          " back\n",
          given_back / SLOT, atomic_load (&shared->moves_out),
          atomic_load (&shared->moves_back));
  end ();
}

static void
test_threads (void)
{
  use_threads ();
}

static void
test_threads_and_moves (void)
{
  restless = with_spill = true;
  use_threads ();
}

/* A write that waits for a chunk wakes the governor, and gets the next one. */
static void *
write_soon (void *arg)
{
  (void) arg;
  fill (2, 7 * SLOT, 10);
  return NULL;
}

static void
test_wait_for_chunk (void)
{
  pthread_t writer;
  uint32_t wakes;

  for (unsigned spills = 0; spills < 2; ++spills) {
    with_spill = spills;
    begin (0, false);
    virtual_time_end ();
    elastic_set_stopped (slots.elastic, false);
    slots.elastic->timeout_ms = 3600 * 1000;
    fill (1, 0, 2 * SLOT);
    wakes = atomic_load (&shared->wake);
    CHECK_EQ (pthread_create (&writer, NULL, write_soon, NULL), 0);
    while (elastic_waiting (slots.elastic) == 0 &&
           SLOT_STATE (atomic_load (&slots.elastic->table[7])) == SLOT_EMPTY)
      sched_yield ();
    CHECK (atomic_load (&shared->wake) != wakes);
    governor_step (governor);
    pthread_join (writer, NULL);
    /* The spill file is not for writes that can have VRAM. */
    CHECK_EQ (SLOT_STATE (slots.elastic->table[7]), SLOT_VRAM);
    CHECK_EQ (atomic_load (&shared->moves_back), 0);
    check_content (disk);
    end ();
  }
}

/* If VRAM gets short while it waits, it goes to the spill file at once. */
static void
test_wait_until_short (void)
{
  pthread_t writer;

  with_spill = true;
  begin (0, false);
  virtual_time_end ();
  elastic_set_stopped (slots.elastic, false);
  slots.elastic->timeout_ms = 3600 * 1000;
  fill (1, 0, 2 * SLOT);
  CHECK_EQ (pthread_create (&writer, NULL, write_soon, NULL), 0);
  while (elastic_waiting (slots.elastic) == 0)
    sched_yield ();
  vram.bytes_free = 0;
  governor_step (governor);
  pthread_join (writer, NULL);
  CHECK_EQ (SLOT_STATE (slots.elastic->table[7]), SLOT_SPILL);
  check_content (disk);
  end ();
}

/* A write that waits for a chunk ends when the GPU is lost, or when there is
 * no governor any more.
 */
static void *
write_late (void *is_lost)
{
  CHECK_EQ (disk_write (disk, "x", 1, 7 * SLOT), -1);
  CHECK_EQ (errno, is_lost ? EIO : ENOSPC);
  return NULL;
}

static void
test_wait_until_stopped (void)
{
  pthread_t writer;

  begin (0, false);
  virtual_time_end ();
  elastic_set_stopped (slots.elastic, false);
  slots.elastic->timeout_ms = 3600 * 1000;
  fill (1, 0, 2 * SLOT);
  CHECK_EQ (pthread_create (&writer, NULL, write_late, NULL), 0);
  while (elastic_waiting (slots.elastic) == 0)
    sched_yield ();
  elastic_set_stopped (slots.elastic, true);
  pthread_join (writer, NULL);
  check_content (disk);
  end ();
}

static void
test_lost (void)
{
  pthread_t writer;

  begin (2 * SLOT, false);
  virtual_time_end ();
  elastic_set_stopped (slots.elastic, false);
  slots.elastic->timeout_ms = 3600 * 1000;
  fill (1, 0, 2 * SLOT);
  CHECK_EQ (pthread_create (&writer, NULL, write_late, disk), 0);
  while (elastic_waiting (slots.elastic) == 0)
    sched_yield ();
  disk_fail (disk);
  pthread_join (writer, NULL);
  /* It is not the fault of programs that use VRAM. */
  CHECK_EQ (stub_errors_count (), 0);
  /* The driver is not called any more. */
  CHECK_EQ (governor_step (governor), GOVERNOR_SLEEP);
  CHECK_EQ (vram.chunks, 2);
  end ();
}

/* So does a request that waits for the new place of its slot, which a governor
 * that hangs in the driver never sets.
 */
static void *
fail_to_read_or_write (void *writes)
{
  unsigned char buf[8] = { 1 };

  CHECK_EQ (writes ? disk_write (disk, buf, sizeof buf, 0)
                   : disk_read (disk, buf, sizeof buf, 0),
            -1);
  CHECK_EQ (errno, EIO);
  return NULL;
}

static void
test_lost_while_moving (void)
{
  for (unsigned writes = 0; writes < 2; ++writes) {
    pthread_t thread;
    uint64_t word;

    begin (0, false);
    fill_slots (1);
    word = atomic_load (&slots.elastic->table[0]);
    CHECK (elastic_stop (slots.elastic, 0, word,
                         writes ? SLOT_FROZEN : SLOT_LOCKED));
    CHECK_EQ (pthread_create (&thread, NULL, fail_to_read_or_write,
                              writes ? &requests_ended : NULL),
              0);
    /* It has the time to wait, but need not have begun. */
    usleep (20000);
    disk_fail (disk);
    CHECK_EQ (pthread_join (thread, NULL), 0);
    elastic_go_on (slots.elastic, 0, word);
    end ();
  }
}

/* A governor that waits for a request goes on when the GPU is lost, and leaves
 * the slot as it is.
 */
static void *
fail_to_stop (void *arg)
{
  CHECK (!elastic_stop (slots.elastic, 0, *(uint64_t *) arg, SLOT_LOCKED));
  return NULL;
}

static void
test_lost_while_pinned (void)
{
  for (unsigned kind = PIN_READ; kind <= PIN_WRITE; ++kind) {
    pthread_t thread;
    uint64_t word;

    begin (0, false);
    fill_slots (1);
    CHECK_EQ (elastic_pin (slots.elastic, 0, kind, &word), 0);
    CHECK_EQ (pthread_create (&thread, NULL, fail_to_stop, &word), 0);
    while (!(atomic_load (&slots.elastic->table[0]) & SLOT_LOCKED))
      sched_yield ();
    disk_fail (disk);
    CHECK_EQ (pthread_join (thread, NULL), 0);
    CHECK_EQ (atomic_load (&slots.elastic->table[0]), word);
    elastic_unpin (slots.elastic, 0, kind);
    end ();
  }
}

/* The governor's thread ends although it sleeps, and then no write waits for a
 * chunk.
 */
static void
test_stop (void)
{
  uint64_t start;

  begin (0, false);
  CHECK_EQ (governor_start (governor), 0);
  while (atomic_load (&slots.elastic->trimmed))
    sched_yield ();
  fill (1, 0, SLOT);
  while (elastic_reserve (slots.elastic) < RESERVE_CHUNKS)
    sched_yield ();
  CHECK_EQ (governor_stop (governor), 0);
  CHECK_EQ (governor_stop (governor), 0);
  fill (2, SLOT, RESERVE_CHUNKS * SLOT);
  start = clock_ms ();
  CHECK_EQ (disk_write (disk, "x", 1, 7 * SLOT), -1);
  CHECK_EQ (errno, ENOSPC);
  CHECK_EQ (clock_ms () - start, 0);
  check_content (disk);
  end ();
}

/* A governor that hangs in the driver is given up if the GPU is lost. */
static atomic_bool driver_hangs, driver_called;

static void
hang (void)
{
  atomic_store (&driver_called, true);
  while (atomic_load (&driver_hangs))
    sched_yield ();
}

static void
test_stop_while_driver_hangs (void)
{
  begin (0, false);
  virtual_time_end ();
  atomic_store (&driver_hangs, true);
  atomic_store (&driver_called, false);
  vram.called = hang;
  CHECK_EQ (governor_start (governor), 0);
  fill (1, 0, SLOT);
  while (!atomic_load (&driver_called))
    sched_yield ();
  disk_fail (disk);
  CHECK_EQ (governor_stop (governor), -1);
  CHECK_EQ (governor_free (governor), -1);
  atomic_store (&driver_hangs, false);
  atomic_store (&slots.elastic->failed, false);
  end ();
}

/* The size of an elastic disk, and when it is refused. */
static void
test_sizes (void)
{
  static const struct {
    uint64_t size, min, headroom, bytes_free, got, slot;
  } table[] = {
    { 16 * MiB, 16 * MiB, 0, 64 * GiB, 16 * MiB, 2 * MiB },
    { 2 * MiB, 2 * MiB, 0, 64 * GiB, 2 * MiB, 2 * MiB },
    { 100 * MiB, 100 * MiB, 0, 64 * GiB, 100 * MiB, 16 * MiB },
    { 8 * GiB, 8 * GiB, 0, 64 * GiB, 8 * GiB, 64 * MiB },
    { 60 * GiB, 60 * GiB, 0, 64 * GiB, 60 * GiB, 512 * MiB },
    { 5 * GiB, GiB, GiB, 5 * GiB, 4 * GiB, 64 * MiB },
    { 5 * GiB, GiB, GiB, 2 * GiB - 1, 0, 0 },
    /* Whole chunks, if VRAM is short. */
    { 1000 * MiB, GiB / 2, GiB, 2 * GiB, 1000 * MiB, 64 * MiB },
    { 1000 * MiB, GiB / 2, GiB, 2024 * MiB, 960 * MiB, 64 * MiB },
    { 1000 * MiB, 961 * MiB, GiB, 2024 * MiB, 1000 * MiB, 64 * MiB },
  };

  for (size_t i = 0; i < sizeof table / sizeof table[0]; ++i) {
    int r;

    memory_provider_begin (&vram, 64 * MiB, table[i].bytes_free);
    vram.provider.granularity = 2 * MiB;
    vram.reserve_only = true;
    stub_messages_clear ();
    r = slots_begin_elastic (&slots, &vram.provider, table[i].size,
                             table[i].min, table[i].headroom, 1);
    CHECK_EQ (r == 0 ? slots.size : 0, table[i].got);
    if (r == 0) {
      CHECK_EQ (UINT64_C (1) << slots.shift, table[i].slot);
      CHECK (vram.chunks <= (table[i].slot < 256 * MiB ? 2 : 1));
      CHECK_EQ (slots.allocated, slots.count * table[i].slot);
      CHECK (slots.count <= CHUNKS_MAX && slots.allocated >= slots.size);
    }
    else
      CHECK_HOLDS (stub_errors (), "VRAM is short");
    slots_free (&slots);
    CHECK_EQ (vram.chunks, 0);
  }

  /* If only one chunk can be allocated, the disk starts with it. */
  memory_provider_begin (&vram, 64 * MiB, 64 * GiB);
  vram.provider.granularity = 2 * MiB;
  vram.reserve_only = true;
  vram.fail_nth = 2;
  vram.fail_result = 1;
  CHECK_EQ (
      slots_begin_elastic (&slots, &vram.provider, 8 * GiB, 8 * GiB, 0, 1), 0);
  CHECK_EQ (vram.chunks, 1);
  slots_free (&slots);
  CHECK_EQ (vram.chunks, 0);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_nothing);
  RUN (test_first_write);
  RUN (test_last_trim);
  RUN (test_headroom);
  RUN (test_headroom_fast);
  RUN (test_free_is_unknown);
  RUN (test_time_to_give_back);
  RUN (test_short);
  RUN (test_limit);
  RUN (test_limit_and_headroom);
  RUN (test_store_fails);
  RUN (test_zero_fails);
  RUN (test_no_scrub);
  RUN (test_data_is_not_disturbed);
  RUN (test_reserve);
  RUN (test_empty_for_a_while);
  RUN (test_reuse);
  RUN (test_slow_scan);
  RUN (test_looks);
  RUN (test_adoption);
  RUN (test_adoption_moves);
  RUN (test_spill);
  RUN (test_released_later);
  RUN (test_spill_back);
  RUN (test_spill_limit);
  RUN (test_spill_back_last);
  RUN (test_spill_back_later);
  RUN (test_spill_move_fails);
  RUN (test_spill_trimmed);
  RUN (test_spill_end);
  RUN (test_spill_large);
  RUN (test_spill_slow);
  RUN (test_spill_read_meanwhile);
  RUN (test_written_while_empty);
  RUN (test_flags);
  RUN (test_pins);
  RUN (test_spill_cold);
  RUN (test_spill_little);
  RUN (test_spill_ready);
  RUN (test_spill_fails);
  RUN (test_spill_hangs);
  RUN (test_threads);
  RUN (test_threads_and_moves);
  RUN (test_wait_for_chunk);
  RUN (test_wait_until_short);
  RUN (test_wait_until_stopped);
  RUN (test_lost);
  RUN (test_lost_while_moving);
  RUN (test_lost_while_pinned);
  RUN (test_stop);
  RUN (test_stop_while_driver_hangs);
  RUN (test_sizes);
  return check_end ();
}
