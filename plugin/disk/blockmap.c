/* nbdkit-vram: which blocks of the disk hold data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "disk/blockmap.h"

#define WORD_BITS 64

/* Writers that wait for a claim to end, by the claimed word.  Words that share
 * a queue only cost a needless wake-up.
 */
#define QUEUES 16
struct queue {
  pthread_mutex_t lock;
  pthread_cond_t ended;
  atomic_uint waiters;
};

struct blockmap {
  uint64_t blocks;
  _Atomic uint64_t *data;    /* bit set: the block holds data */
  _Atomic uint64_t *claimed; /* bit set: a writer is filling the block */
  bool own_data;             /* data is this map's own memory */
  atomic_bool failed;        /* blockmap_fail was called */
  struct queue queues[QUEUES];
};

static uint64_t
words_of (uint64_t blocks)
{
  return (blocks + WORD_BITS - 1) / WORD_BITS;
}

/* Bits [FROM, TO) of a word, 0 <= FROM < TO <= 64. */
static uint64_t
bits (unsigned from, unsigned to)
{
  return (~UINT64_C (0) >> (WORD_BITS - (to - from))) << from;
}

/* The bits of word WORD for the blocks [FIRST, END), of which it holds at
 * least one.
 */
static uint64_t
bits_in_word (uint64_t word, uint64_t first, uint64_t end)
{
  uint64_t start = word * WORD_BITS;
  unsigned from = first > start ? (unsigned) (first - start) : 0;
  unsigned to = end < start + WORD_BITS ? (unsigned) (end - start) : WORD_BITS;

  return bits (from, to);
}

size_t
blockmap_bytes (uint64_t blocks)
{
  return words_of (blocks) * sizeof (uint64_t);
}

/* Memory whose pages are all present. */
static void *
allocate_bits (uint64_t blocks)
{
  void *p = mmap (NULL, blockmap_bytes (blocks), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

  return p == MAP_FAILED ? NULL : p;
}

struct blockmap *
blockmap_create (uint64_t blocks, void *bits)
{
  struct blockmap *map;
  int saved;

  map = calloc (1, sizeof *map);
  if (map == NULL)
    return NULL;
  map->blocks = blocks;
  map->own_data = bits == NULL;
  map->data = bits ? bits : allocate_bits (blocks);
  if (map->data == NULL)
    goto err_map;
  map->claimed = allocate_bits (blocks);
  if (map->claimed == NULL)
    goto err_data;
  for (unsigned i = 0; i < QUEUES; ++i) {
    pthread_mutex_init (&map->queues[i].lock, NULL);
    pthread_cond_init (&map->queues[i].ended, NULL);
    atomic_init (&map->queues[i].waiters, 0);
  }
  if (bits) {
    for (uint64_t w = 0; w < words_of (blocks); w += 4096 / sizeof (uint64_t))
      atomic_fetch_or (&map->data[w], 0);
  }
  return map;

err_data:
  saved = errno;
  if (map->own_data)
    munmap ((void *) map->data, blockmap_bytes (blocks));
  errno = saved;
err_map:
  saved = errno;
  free (map);
  errno = saved;
  return NULL;
}

void
blockmap_free (struct blockmap *map)
{
  if (map == NULL)
    return;
  for (unsigned i = 0; i < QUEUES; ++i) {
    pthread_mutex_destroy (&map->queues[i].lock);
    pthread_cond_destroy (&map->queues[i].ended);
  }
  munmap ((void *) map->claimed, blockmap_bytes (map->blocks));
  if (map->own_data)
    munmap ((void *) map->data, blockmap_bytes (map->blocks));
  free (map);
}

/* acquire: a thread that sees the bit also sees the data written before it. */
static uint64_t
load_data (const struct blockmap *map, uint64_t word)
{
  return atomic_load_explicit (&map->data[word], memory_order_acquire);
}

bool
blockmap_has_data (const struct blockmap *map, uint64_t block)
{
  return (load_data (map, block / WORD_BITS) >> (block % WORD_BITS)) & 1;
}

uint64_t
blockmap_run (const struct blockmap *map, uint64_t first, uint64_t end,
              bool *data)
{
  uint64_t word = first / WORD_BITS, differs;
  uint64_t same;

  assert (first < end && end <= map->blocks);
  *data = blockmap_has_data (map, first);
  same = *data ? ~UINT64_C (0) : 0;

  differs =
      (load_data (map, word) ^ same) & bits (first % WORD_BITS, WORD_BITS);
  while (differs == 0) {
    ++word;
    if (word * WORD_BITS >= end)
      return end - first;
    differs = load_data (map, word) ^ same;
  }
  word = word * WORD_BITS + (unsigned) __builtin_ctzll (differs);
  /* FIRST itself may have changed meanwhile. */
  if (word == first)
    ++word;
  return (word < end ? word : end) - first;
}

uint64_t
blockmap_count (const struct blockmap *map)
{
  uint64_t count = 0;

  /* The caller's memory may hold anything beyond the last block. */
  for (uint64_t w = 0; w < words_of (map->blocks); ++w)
    count += (unsigned) __builtin_popcountll (
        load_data (map, w) & bits_in_word (w, 0, map->blocks));
  return count;
}

void
blockmap_clear (struct blockmap *map, uint64_t first, uint64_t count)
{
  uint64_t end = first + count, mask;

  assert (end <= map->blocks);
  if (count == 0)
    return;
  for (uint64_t w = first / WORD_BITS; w <= (end - 1) / WORD_BITS; ++w) {
    mask = bits_in_word (w, first, end);
    /* Do not dirty the map where nothing changes, as in large trims. */
    if (load_data (map, w) & mask)
      atomic_fetch_and (&map->data[w], ~mask);
  }
}

/* Wait until no writer has a claim on a block of MASK in word W.  Returns
 * false after blockmap_fail.
 */
static bool
wait_unclaimed (struct blockmap *map, uint64_t w, uint64_t mask)
{
  struct queue *q = &map->queues[w % QUEUES];
  bool failed = false;

  pthread_mutex_lock (&q->lock);
  /* Sequentially consistent against end_claim: either it sees this waiter, or
   * this waiter sees that the claim has ended.
   */
  atomic_fetch_add (&q->waiters, 1);
  while (atomic_load (&map->claimed[w]) & mask) {
    failed = atomic_load (&map->failed);
    if (failed)
      break;
    pthread_cond_wait (&q->ended, &q->lock);
  }
  atomic_fetch_sub (&q->waiters, 1);
  pthread_mutex_unlock (&q->lock);
  return !failed;
}

static void
wake_waiters (struct queue *q)
{
  pthread_mutex_lock (&q->lock);
  pthread_cond_broadcast (&q->ended);
  pthread_mutex_unlock (&q->lock);
}

static void
end_claim (struct blockmap *map, uint64_t w, uint64_t mask)
{
  struct queue *q = &map->queues[w % QUEUES];

  atomic_fetch_and (&map->claimed[w], ~mask);
  if (atomic_load (&q->waiters) > 0)
    wake_waiters (q);
}

void
blockmap_fail (struct blockmap *map)
{
  atomic_store (&map->failed, true);
  for (unsigned i = 0; i < QUEUES; ++i)
    wake_waiters (&map->queues[i]);
}

/* Claim MASK in word W, all of it at once, so that no claim in this word is
 * held while waiting.
 */
static bool
claim_word (struct blockmap *map, uint64_t w, uint64_t mask)
{
  uint64_t claimed = atomic_load (&map->claimed[w]);

  for (;;) {
    if (claimed & mask) {
      if (!wait_unclaimed (map, w, mask))
        return false;
      claimed = atomic_load (&map->claimed[w]);
    }
    else if (atomic_compare_exchange_weak (&map->claimed[w], &claimed,
                                           claimed | mask))
      return true;
  }
}

bool
blockmap_claim (struct blockmap *map, uint64_t first, uint64_t count,
                struct claim *claim)
{
  uint64_t end = first + count;

  assert (count >= 1 && count <= CLAIM_BLOCKS && end <= map->blocks);
  claim->first_word = first / WORD_BITS;
  claim->words = (unsigned) ((end - 1) / WORD_BITS - claim->first_word + 1);
  for (unsigned i = 0; i < claim->words; ++i) {
    claim->mask[i] = bits_in_word (claim->first_word + i, first, end);
    if (!claim_word (map, claim->first_word + i, claim->mask[i])) {
      claim->words = i;
      blockmap_release (map, claim);
      return false;
    }
  }
  return true;
}

void
blockmap_publish (struct blockmap *map, struct claim *claim)
{
  for (unsigned i = 0; i < claim->words; ++i) {
    /* Most writes are to blocks that hold data already. */
    if (~load_data (map, claim->first_word + i) & claim->mask[i])
      atomic_fetch_or (&map->data[claim->first_word + i], claim->mask[i]);
    end_claim (map, claim->first_word + i, claim->mask[i]);
  }
}

void
blockmap_release (struct blockmap *map, struct claim *claim)
{
  for (unsigned i = 0; i < claim->words; ++i)
    end_claim (map, claim->first_word + i, claim->mask[i]);
}
