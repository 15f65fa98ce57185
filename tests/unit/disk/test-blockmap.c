/* nbdkit-vram: tests of the block map, with one thread and with several
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "disk/blockmap.h"
#include "check.h"
#include "common/clock.h"

/* Makes a claim, which must succeed before the test's time limit. */
static void
claim_now (struct blockmap *map, uint64_t first, uint64_t count,
           struct claim *claim)
{
  CHECK (blockmap_claim (map, first, count, claim));
}

/* ---- One thread, compared with an array of bool ---- */

struct model {
  uint64_t blocks;
  bool *data;
};

static void
compare (const struct blockmap *map, const struct model *model)
{
  uint64_t count = 0;

  for (uint64_t b = 0; b < model->blocks; ++b) {
    if (blockmap_has_data (map, b) != model->data[b])
      check_fail (__FILE__, __LINE__, "block %" PRIu64 " of %" PRIu64, b,
                  model->blocks);
    count += model->data[b];
  }
  CHECK_EQ (blockmap_count (map), count);
}

static uint64_t
model_run (const struct model *model, uint64_t first, uint64_t end)
{
  uint64_t n = 1;

  while (first + n < end && model->data[first + n] == model->data[first])
    ++n;
  return n;
}

static void
compare_run (const struct blockmap *map, const struct model *model,
             uint64_t first, uint64_t end)
{
  bool data = !model->data[first];

  CHECK_EQ (blockmap_run (map, first, end, &data),
            model_run (model, first, end));
  CHECK_EQ (data, model->data[first]);
}

/* CLAIM must have exactly the blocks of [FIRST, FIRST + COUNT). */
static void
compare_claim (const struct claim *claim, uint64_t first, uint64_t count)
{
  CHECK_EQ (claim->first_word, first / 64);
  CHECK_EQ (claim->words, (first + count - 1) / 64 - first / 64 + 1);
  for (unsigned w = 0; w < claim->words; ++w)
    for (unsigned bit = 0; bit < 64; ++bit) {
      uint64_t b = (claim->first_word + w) * 64 + bit;

      CHECK_EQ ((claim->mask[w] >> bit) & 1, b >= first && b < first + count);
    }
}

/* A range of [0, BLOCKS), often at the borders of words, at most MOST long. */
static void
random_range (struct rnd *rnd, uint64_t blocks, uint64_t most, uint64_t *first,
              uint64_t *count)
{
  static const int around[] = { -1, 0, 1 };
  uint64_t end;

  *first = rnd_below (rnd, blocks);
  if (rnd_below (rnd, 2))
    *first = *first / 64 * 64 + (uint64_t) around[rnd_below (rnd, 3)];
  if (*first >= blocks)
    *first = 0;
  end = *first + 1 + rnd_below (rnd, blocks - *first);
  if (rnd_below (rnd, 2))
    end = (end + 63) / 64 * 64 + (uint64_t) around[rnd_below (rnd, 3)];
  if (end <= *first)
    end = *first + 1;
  if (end > blocks)
    end = blocks;
  *count = end - *first;
  if (*count > most)
    *count = most;
}

static void
random_step (struct rnd *rnd, struct blockmap *map, struct model *model)
{
  uint64_t first, count;
  struct claim claim;

  switch (rnd_below (rnd, 5)) {
  case 0:
    random_range (rnd, model->blocks, model->blocks, &first, &count);
    if (rnd_below (rnd, 16) == 0)
      count = 0;
    blockmap_clear (map, first, count);
    memset (model->data + first, false, count);
    break;
  case 1:
  case 2:
    random_range (rnd, model->blocks, CLAIM_BLOCKS, &first, &count);
    claim_now (map, first, count, &claim);
    compare_claim (&claim, first, count);
    blockmap_publish (map, &claim);
    memset (model->data + first, true, count);
    break;
  case 3:
    random_range (rnd, model->blocks, CLAIM_BLOCKS, &first, &count);
    claim_now (map, first, count, &claim);
    compare_claim (&claim, first, count);
    blockmap_release (map, &claim);
    break;
  default:
    random_range (rnd, model->blocks, model->blocks, &first, &count);
    compare_run (map, model, first, first + count);
  }
}

static void
one_size (struct rnd *rnd, uint64_t blocks, unsigned steps)
{
  struct model model = { .blocks = blocks };
  struct blockmap *map = blockmap_create (blocks, NULL);

  CHECK (map != NULL);
  model.data = calloc (blocks, sizeof *model.data);
  CHECK (model.data != NULL);
  compare (map, &model);
  for (unsigned i = 0; i < steps; ++i) {
    random_step (rnd, map, &model);
    if (i % 16 == 0)
      compare (map, &model);
  }
  compare (map, &model);
  for (uint64_t first = 0; first < blocks; first += blocks / 64 + 1)
    compare_run (map, &model, first, blocks);
  free (model.data);
  blockmap_free (map);
}

static void
test_against_model (void)
{
  static const uint64_t sizes[] = { 1,   2,   63,   64,   65,   127,
                                    128, 129, 1023, 1024, 1025, 4099 };
  struct rnd rnd;

  rnd_begin (&rnd, 1);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
    one_size (&rnd, sizes[i], check_effort (1000));
  for (unsigned i = 0; i < check_effort (40); ++i)
    one_size (&rnd, 1 + rnd_below (&rnd, 5000), check_effort (300));
}

static void
test_bytes (void)
{
  CHECK_EQ (blockmap_bytes (1), 8);
  CHECK_EQ (blockmap_bytes (64), 8);
  CHECK_EQ (blockmap_bytes (65), 16);
  CHECK_EQ (blockmap_bytes (UINT64_C (1) << 32), UINT64_C (1) << 29);
}

/* A block map on existing bits uses them in place, and leaves them.  Bits
 * beyond the last block have no meaning.
 */
static void
test_bits_handed_in (void)
{
  enum { BLOCKS = 200 };
  uint64_t bits[(BLOCKS + 63) / 64 + 1];
  struct model model = { .blocks = BLOCKS };
  struct blockmap *map;
  struct claim claim;
  struct rnd rnd;
  uint64_t beyond;

  CHECK_EQ (blockmap_bytes (BLOCKS) / 8, sizeof bits / 8 - 1);
  rnd_begin (&rnd, 2);
  for (size_t i = 0; i < sizeof bits / 8; ++i)
    bits[i] = rnd_next (&rnd);
  beyond = UINT64_C (0xa5a5a5a5a5a5a5a5) << BLOCKS % 64;
  bits[BLOCKS / 64] &= (UINT64_C (1) << BLOCKS % 64) - 1;
  bits[BLOCKS / 64] |= beyond;
  bits[sizeof bits / 8 - 1] = 0x0123456789abcdef;
  model.data = malloc (BLOCKS);
  CHECK (model.data != NULL);
  for (unsigned b = 0; b < BLOCKS; ++b)
    model.data[b] = (bits[b / 64] >> b % 64) & 1;

  map = blockmap_create (BLOCKS, bits);
  CHECK (map != NULL);
  compare (map, &model);
  for (unsigned i = 0; i < 500; ++i)
    random_step (&rnd, map, &model);
  compare (map, &model);
  blockmap_clear (map, 0, BLOCKS);
  claim_now (map, 60, 9, &claim);
  blockmap_publish (map, &claim);
  blockmap_free (map);

  /* The next process finds these bits. */
  CHECK_EQ (bits[0], UINT64_C (0xf) << 60);
  CHECK_EQ (bits[1], 0x1f);
  CHECK_EQ (bits[2], 0);
  CHECK_EQ (bits[BLOCKS / 64], beyond);
  CHECK_EQ (bits[sizeof bits / 8 - 1], 0x0123456789abcdef);
  map = blockmap_create (BLOCKS, bits);
  CHECK (map != NULL);
  CHECK_EQ (blockmap_count (map), 9);
  blockmap_free (map);
  free (model.data);
}

/* No word beyond the last one is read, which tools would report. */
static void
test_bits_end (void)
{
  enum { BLOCKS = 128 };
  uint64_t *bits = calloc (1, BLOCKS / 8);
  struct blockmap *map;
  struct claim claim;
  bool data;

  CHECK (bits != NULL);
  map = blockmap_create (BLOCKS, bits);
  CHECK (map != NULL);
  CHECK_EQ (blockmap_run (map, 3, BLOCKS, &data), BLOCKS - 3);
  claim_now (map, 0, BLOCKS, &claim);
  blockmap_publish (map, &claim);
  CHECK_EQ (blockmap_run (map, 0, BLOCKS, &data), BLOCKS);
  CHECK_EQ (blockmap_count (map), BLOCKS);
  blockmap_clear (map, 0, BLOCKS);
  blockmap_free (map);
  free (bits);
}

/* A clear does not end a claim, and only publishing the claim undoes it. */
static void
test_clear_of_claimed (void)
{
  struct blockmap *map = blockmap_create (70, NULL);
  struct claim claim;

  CHECK (map != NULL);
  claim_now (map, 62, 4, &claim);
  blockmap_clear (map, 0, 70);
  CHECK_EQ (blockmap_count (map), 0);
  blockmap_publish (map, &claim);
  CHECK_EQ (blockmap_count (map), 4);

  /* The same with blocks that had data when they were claimed. */
  claim_now (map, 60, 8, &claim);
  blockmap_clear (map, 62, 4);
  CHECK_EQ (blockmap_count (map), 0);
  blockmap_publish (map, &claim);
  CHECK_EQ (blockmap_count (map), 8);

  /* A release does not change them. */
  claim_now (map, 60, 8, &claim);
  blockmap_clear (map, 62, 4);
  blockmap_release (map, &claim);
  CHECK_EQ (blockmap_count (map), 4);
  CHECK (!blockmap_has_data (map, 62) && blockmap_has_data (map, 61));
  blockmap_free (map);
}

/* ---- Threads ---- */

#define THREADS 6

/* Few blocks, so that threads meet, but several words with their queues. */
#define CROWDED 200

static struct blockmap *shared;
/* The number of the thread that has claimed a block, or 0. */
static atomic_uint holder[CROWDED];
static atomic_ulong published[CROWDED];
static atomic_bool stop;

static void
for_claimed (const struct claim *claim, void (*fn) (uint64_t block, unsigned),
             unsigned self)
{
  for (unsigned w = 0; w < claim->words; ++w)
    for (uint64_t m = claim->mask[w]; m; m &= m - 1)
      fn ((claim->first_word + w) * 64 + (unsigned) __builtin_ctzll (m), self);
}

static void
take (uint64_t block, unsigned self)
{
  unsigned other = atomic_exchange (&holder[block], self);

  if (other != 0)
    check_fail (__FILE__, __LINE__,
                "block %" PRIu64 " is claimed by %u and by %u", block, other,
                self);
}

static void
give (uint64_t block, unsigned self)
{
  unsigned other = atomic_exchange (&holder[block], 0);

  CHECK_EQ (other, self);
}

static void
give_published (uint64_t block, unsigned self)
{
  atomic_fetch_add (&published[block], 1);
  give (block, self);
}

/* Claims ranges that overlap those of other threads, ends each claim, and
 * clears blocks in between, so that there is always something to claim.
 */
static void *
claimer (void *arg)
{
  unsigned self = (unsigned) (uintptr_t) arg;
  uint64_t first, count;
  struct claim claim;
  struct rnd rnd;

  rnd_begin (&rnd, 100 + self);
  for (unsigned i = 0; i < check_effort (20000); ++i) {
    random_range (&rnd, CROWDED, CROWDED, &first, &count);
    claim_now (shared, first, count, &claim);
    for_claimed (&claim, take, self);
    if (rnd_below (&rnd, 8) == 0)
      sched_yield ();
    if (rnd_below (&rnd, 4)) {
      for_claimed (&claim, give_published, self);
      blockmap_publish (shared, &claim);
    }
    else {
      for_claimed (&claim, give, self);
      blockmap_release (shared, &claim);
    }
    random_range (&rnd, CROWDED, CROWDED, &first, &count);
    blockmap_clear (shared, first, count);
  }
  return NULL;
}

/* A thread that only reads finds valid results at any time. */
static void *
reader (void *arg)
{
  uint64_t n;
  bool data;

  (void) arg;
  while (!atomic_load (&stop)) {
    CHECK (blockmap_count (shared) <= CROWDED);
    for (uint64_t at = 0; at < CROWDED; at += n) {
      n = blockmap_run (shared, at, CROWDED, &data);
      CHECK (n >= 1 && at + n <= CROWDED);
    }
  }
  return NULL;
}

static void
test_threads_exclude (void)
{
  pthread_t thread[THREADS], other;
  unsigned long total = 0;

  shared = blockmap_create (CROWDED, NULL);
  CHECK (shared != NULL);
  atomic_store (&stop, false);
  CHECK_EQ (pthread_create (&other, NULL, reader, NULL), 0);
  for (uintptr_t i = 0; i < THREADS; ++i)
    CHECK_EQ (pthread_create (&thread[i], NULL, claimer, (void *) (i + 1)), 0);
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (thread[i], NULL);
  atomic_store (&stop, true);
  pthread_join (other, NULL);
  for (unsigned b = 0; b < CROWDED; ++b)
    total += atomic_load (&published[b]);
  CHECK (total > 0);
  blockmap_free (shared);
}

/* A thread that finds a bit set sees the data that was stored before it was
 * published, and a block is filled once each time that it was empty.
 */
static uint64_t content[CROWDED];
static atomic_ulong filled;

static void *
filler (void *arg)
{
  unsigned self = (unsigned) (uintptr_t) arg;
  struct claim claim;
  struct rnd rnd;

  rnd_begin (&rnd, 200 + self);
  for (unsigned i = 0; i < check_effort (20000); ++i) {
    uint64_t first = rnd_below (&rnd, CROWDED);
    uint64_t count = 1 + rnd_below (&rnd, CROWDED - first);

    if (blockmap_has_data (shared, first))
      CHECK_EQ (content[first], first + 1);
    claim_now (shared, first, count, &claim);
    for (unsigned w = 0; w < claim.words; ++w)
      for (uint64_t m = claim.mask[w]; m; m &= m - 1) {
        uint64_t b =
            (claim.first_word + w) * 64 + (unsigned) __builtin_ctzll (m);

        /* Not atomic, so that ThreadSanitizer reports it if two threads fill
         * a block, or the bit comes before the data.
         */
        if (blockmap_has_data (shared, b)) {
          CHECK_EQ (content[b], b + 1);
          continue;
        }
        CHECK_EQ (content[b], 0);
        content[b] = b + 1;
        atomic_fetch_add (&filled, 1);
      }
    blockmap_publish (shared, &claim);
    CHECK_EQ (content[first + count - 1], first + count);
  }
  return NULL;
}

static void
test_threads_publish (void)
{
  pthread_t thread[THREADS];

  for (unsigned round = 0; round < check_effort (20); ++round) {
    shared = blockmap_create (CROWDED, NULL);
    CHECK (shared != NULL);
    memset (content, 0, sizeof content);
    atomic_store (&filled, 0);
    for (uintptr_t i = 0; i < THREADS; ++i)
      CHECK_EQ (pthread_create (&thread[i], NULL, filler, (void *) (i + 1)),
                0);
    for (unsigned i = 0; i < THREADS; ++i)
      pthread_join (thread[i], NULL);
    CHECK_EQ (blockmap_count (shared), CROWDED);
    CHECK_EQ (atomic_load (&filled), CROWDED);
    blockmap_free (shared);
  }
}

/* Threads that change other blocks of the same word do not disturb a thread's
 * own blocks.
 */
static void *
neighbour (void *arg)
{
  uint64_t first = 64 + (uint64_t) (uintptr_t) arg * 10;
  struct claim claim;
  bool data;

  for (unsigned i = 0; i < check_effort (20000); ++i) {
    claim_now (shared, first, 10, &claim);
    CHECK_EQ (__builtin_popcountll (claim.mask[0]), 10);
    blockmap_publish (shared, &claim);
    CHECK_EQ (blockmap_run (shared, first, first + 10, &data), 10);
    CHECK (data);
    blockmap_clear (shared, first, 10);
    CHECK_EQ (blockmap_run (shared, first, first + 10, &data), 10);
    CHECK (!data);
  }
  return NULL;
}

static void
test_threads_neighbours (void)
{
  pthread_t thread[THREADS];

  shared = blockmap_create (128, NULL);
  CHECK (shared != NULL);
  for (uintptr_t i = 0; i < THREADS; ++i)
    CHECK_EQ (pthread_create (&thread[i], NULL, neighbour, (void *) i), 0);
  for (unsigned i = 0; i < THREADS; ++i)
    pthread_join (thread[i], NULL);
  blockmap_free (shared);
}

/* Two threads claim the same block at the same time.  One fills it, and the
 * other one finds it filled, also if the first one ends between two reads of
 * the second one.
 */
static atomic_uint arrived, fills;

static void
meet (unsigned *generation)
{
  unsigned want = 2 * ++*generation;

  atomic_fetch_add (&arrived, 1);
  for (unsigned spins = 1; atomic_load (&arrived) < want; ++spins)
    if (spins % 1024 == 0)
      sched_yield ();
}

static void *
race (void *arg)
{
  bool first = arg == NULL;
  uint64_t end = clock_ms () + 1500;
  unsigned generation = 0;
  struct claim claim;

  for (unsigned i = 0; i < check_effort (200000); ++i) {
    if (first) {
      CHECK_EQ (atomic_exchange (&fills, 0), i > 0);
      blockmap_clear (shared, 70, 1);
      if (clock_ms () > end)
        atomic_store (&stop, true);
    }
    meet (&generation);
    if (atomic_load (&stop))
      break;
    /* Try all delays between the two. */
    for (volatile unsigned spins = first ? i % 97 : i % 101; spins > 0;
         --spins)
      ;
    claim_now (shared, 70, 1, &claim);
    if (!blockmap_has_data (shared, 70))
      atomic_fetch_add (&fills, 1);
    blockmap_publish (shared, &claim);
    meet (&generation);
  }
  return NULL;
}

static void
test_threads_race (void)
{
  pthread_t thread;

  shared = blockmap_create (128, NULL);
  CHECK (shared != NULL);
  atomic_store (&stop, false);
  atomic_store (&arrived, 0);
  atomic_store (&fills, 0);
  CHECK_EQ (pthread_create (&thread, NULL, race, shared), 0);
  race (NULL);
  pthread_join (thread, NULL);
  blockmap_free (shared);
}

/* A claim waits only for the blocks that it needs, and is woken. */
static atomic_uint got;

static void *
claim_one (void *arg)
{
  uint64_t block = (uint64_t) (uintptr_t) arg;
  struct claim claim;

  claim_now (shared, block, 1, &claim);
  atomic_fetch_add (&got, 1);
  blockmap_release (shared, &claim);
  return NULL;
}

static void
nap (unsigned ms)
{
  struct timespec ts = { .tv_sec = ms / 1000,
                         .tv_nsec = ms % 1000 * 1000000L };

  nanosleep (&ts, NULL);
}

static void
test_waits (void)
{
  struct claim claim, other;
  pthread_t thread[3];

  shared = blockmap_create (4096, NULL);
  CHECK (shared != NULL);
  atomic_store (&got, 0);
  claim_now (shared, 63, 2, &claim);
  /* The neighbours are free, and so are blocks that share a queue. */
  claim_now (shared, 62, 1, &other);
  blockmap_release (shared, &other);
  claim_now (shared, 65, CLAIM_BLOCKS, &other);
  blockmap_release (shared, &other);
  claim_now (shared, 63 + 16 * 64, 1, &other);
  blockmap_release (shared, &other);

  for (uintptr_t i = 0; i < 3; ++i)
    CHECK_EQ (
        pthread_create (&thread[i], NULL, claim_one, (void *) (63 + (i & 1))),
        0);
  nap (50);
  CHECK_EQ (atomic_load (&got), 0);
  blockmap_release (shared, &claim);
  for (unsigned i = 0; i < 3; ++i)
    pthread_join (thread[i], NULL);
  CHECK_EQ (atomic_load (&got), 3);

  /* Publishing wakes it, too.  The second time the blocks already hold data,
   * and the claim waits as well, so that a slow write cannot overwrite data
   * that another one has published.
   */
  for (unsigned i = 0; i < 2; ++i) {
    atomic_store (&got, 0);
    claim_now (shared, 63, 2, &claim);
    CHECK_EQ (pthread_create (&thread[0], NULL, claim_one, (void *) 64), 0);
    nap (20);
    CHECK_EQ (atomic_load (&got), 0);
    blockmap_publish (shared, &claim);
    pthread_join (thread[0], NULL);
    CHECK_EQ (blockmap_count (shared), 2);
  }
  blockmap_free (shared);
}

/* A writer never returns.  Another claim waits until blockmap_fail, and then
 * releases the blocks that it already has.
 */
static void *
claim_in_vain (void *arg)
{
  struct claim claim;

  (void) arg;
  CHECK (!blockmap_claim (shared, 63, 200, &claim));
  return NULL;
}

static void
test_fails (void)
{
  struct claim claim, other;
  pthread_t thread;

  shared = blockmap_create (4096, NULL);
  CHECK (shared != NULL);
  claim_now (shared, 200, 1, &claim);
  CHECK_EQ (pthread_create (&thread, NULL, claim_in_vain, NULL), 0);
  nap (20);
  blockmap_fail (shared);
  pthread_join (thread, NULL);
  CHECK (blockmap_claim (shared, 63, 129, &other));
  blockmap_release (shared, &other);
  CHECK (blockmap_claim (shared, 201, 62, &other));
  blockmap_release (shared, &other);
  CHECK (!blockmap_claim (shared, 200, 1, &other));
  blockmap_release (shared, &claim);
  claim_now (shared, 63, 200, &claim);
  blockmap_release (shared, &claim);
  blockmap_free (shared);
}

/* A block that changes while its run is read still counts as one. */
static void *
flipper (void *arg)
{
  struct claim claim;

  (void) arg;
  while (!atomic_load (&stop)) {
    claim_now (shared, 64, 64, &claim);
    blockmap_publish (shared, &claim);
    blockmap_clear (shared, 64, 64);
  }
  return NULL;
}

static void
test_run_while_changing (void)
{
  pthread_t thread;
  uint64_t n;
  bool data;

  shared = blockmap_create (192, NULL);
  CHECK (shared != NULL);
  atomic_store (&stop, false);
  CHECK_EQ (pthread_create (&thread, NULL, flipper, NULL), 0);
  for (unsigned i = 0; i < check_effort (200000); ++i) {
    n = blockmap_run (shared, 64, 192, &data);
    CHECK (n >= 1 && n <= 128);
    n = blockmap_run (shared, 10, 192, &data);
    CHECK (!data && (n == 54 || n == 182 || (n > 54 && n < 118)));
  }
  atomic_store (&stop, true);
  pthread_join (thread, NULL);
  blockmap_free (shared);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_bytes);
  RUN (test_against_model);
  RUN (test_bits_handed_in);
  RUN (test_bits_end);
  RUN (test_clear_of_claimed);
  RUN (test_waits);
  RUN (test_fails);
  RUN (test_run_while_changing);
  RUN (test_threads_exclude);
  RUN (test_threads_publish);
  RUN (test_threads_neighbours);
  RUN (test_threads_race);
  return check_end ();
}
