/* nbdkit-vram: takes VRAM for an elastic disk and gives it back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memlock.h"
#include "common/thread.h"
#include "common/units.h"
#include "disk/governor.h"
#include "watchdog.h"

/* How often to look at free VRAM, in ms: every FAST_MS for FAST_FOR_MS after a
 * change, because a program that starts takes some VRAM for its context and
 * loads its data next, otherwise every REST_MS.  Changes of less than
 * CHANGE_MIN bytes do not count, because those of a desktop never end.
 */
#define FAST_MS     1
#define FAST_FOR_MS 10000
#define REST_MS     100
#define CHANGE_MIN  (16 * MiB)

/* How long a slot must be empty before its chunk is given back, in ms.  It may
 * be written again soon.
 */
#define EMPTY_MS 2000

/* Look for empty slots at most this often, in ms. */
#define SCAN_MS 500

/* Refill the reserve this long after VRAM was given back, unless a write
 * waits, and try again this long after an allocation has failed, in ms.
 */
#define REFILL_MS 2000
#define RETRY_MS  100

/* Slots move back from the spill file this long after VRAM was given back, one
 * each BACK_EACH_MS, and this long after the file could not be read.
 */
#define BACK_AFTER_MS 5000
#define BACK_EACH_MS  200
#define BACK_RETRY_MS 60000

/* How often to mark all slots as cold, in ms. */
#define COLD_MS 5000

/* The largest piece that moves at once, and the longest gap of blocks without
 * data in it.
 */
#define MOVE_BYTES (16 * MiB)
#define GAP_BLOCKS 64

/* Try again this long after the store has refused a chunk, in ms, because the
 * supervisor may be restarting.
 */
#define STORE_RETRY_MS 500

/* How long freed VRAM may stay in use, in ms: the programs that keep its
 * descriptor must close it first.
 */
#define CLOSE_MS 20

/* Make a chunk this long after the last one was taken, in us. */
#define AFTER_WRITE_US 2000

/* How long to wait for a thread that may hang in the driver. */
#define JOIN_MS 500

struct governor {
  struct slots *slots;
  struct elastic *e;
  const struct blockmap *map;
  struct governor_options options;
  uint64_t size; /* of a chunk */

  unsigned held;                    /* chunks */
  uint64_t empty_since[CHUNKS_MAX]; /* for each slot, ms; 0: not empty when
                                     * last scanned
                                     */
  uint64_t scan_at;    /* when to look for empty slots, ms; 0: never */
  uint64_t scanned_at; /* time of the last scan, ms */

  uint64_t last_free;  /* bytes */
  uint64_t noted_free; /* bytes, at the last change */
  uint64_t changed_at; /* time of that change, ms */
  uint64_t closing;    /* bytes given back that are not free yet */
  uint64_t closing_at; /* ms */
  uint64_t refill_at;  /* do not refill the reserve before, ms */
  uint64_t retry_at;
  uint64_t store_at; /* the store refuses chunks until then, ms */
  uint64_t back_at;  /* do not move slots back before, ms */
  uint64_t aged_at;  /* when all slots were marked as cold, ms */
  uint64_t random;   /* for debug flag restless */
  char *buffer;      /* for moves */
  size_t buffer_bytes;
  uint64_t over_since; /* since when too much is held, us; 0: it is not */

  pthread_t thread;
  bool running;
  atomic_bool stop, ended;
  struct watchdog_wait wait;
};

/*
 * Facts.
 */

static void
store_facts (struct governor *g)
{
  struct superblock_shared *shared = g->e->shared;
  uint64_t in_vram = 0, least = 0, spilled = 0;

  for (unsigned i = 0; i < g->slots->count; ++i)
    switch (SLOT_STATE (atomic_load (&g->e->table[i]))) {
    case SLOT_EMPTY:
      break;
    case SLOT_VRAM:
      in_vram += g->size;
      if (g->empty_since[i] == 0 && !elastic_can_spill (g->e, i))
        least += g->size;
      break;
    case SLOT_SPILL:
      spilled += g->size;
    }
  atomic_store (&shared->elastic, ELASTIC_YES);
  atomic_store (&shared->vram_held, g->held * g->size);
  atomic_store (&shared->vram_slots, in_vram);
  atomic_store (&shared->vram_least, least);
  atomic_store (&shared->spilled, spilled);
  if (g->e->spill)
    atomic_store (&shared->spill_size, spill_ready (g->e->spill));
}

/*
 * Chunks.
 */

/* Overwrite the chunk NUMBER with zeros. */
static int
zero_chunk (struct governor *g, unsigned number)
{
  const int r = slots_zero_chunk (g->slots, number);

  watchdog_leave ();
  return r;
}

/* Free the chunk NUMBER.  With DIRTY it may hold data. */
static void
free_chunk (struct governor *g, unsigned number, bool dirty)
{
  struct provider *p = g->slots->provider;

  if (dirty && g->options.scrub && zero_chunk (g, number) == -1)
    log_error ("cannot overwrite VRAM; giving it back with the data in it");
  p->f->free (p, g->slots->chunk[number]);
  watchdog_leave ();
  g->slots->chunk[number] = NULL;
  g->held--;
  g->noted_free += g->size;
  if (g->options.store) {
    g->options.store->remove (number);
    g->closing += g->size;
    g->closing_at = clock_ms ();
  }
}

/* Have the store keep the chunk NUMBER instead of a chunk that an earlier
 * server may have stored under that name.
 */
static int
keep_chunk (struct governor *g, unsigned number)
{
  const struct governor_store *store = g->options.store;

  if (store == NULL)
    return 0;
  store->remove (number);
  if (store->put (g->slots->provider, g->slots->chunk[number], number) == 0 &&
      store->check () == 0)
    return 0;
  g->store_at = g->retry_at = clock_ms () + STORE_RETRY_MS;
  return -1;
}

/* Add one chunk to the reserve.  Returns whether that worked. */
static bool
make_chunk (struct governor *g)
{
  struct provider *p = g->slots->provider;
  char reason[PROVIDER_REASON];
  unsigned number = 0;

  while (number < g->slots->count && g->slots->chunk[number])
    ++number;
  if (number == g->slots->count)
    return false;
  if (p->f->allocate (p, g->size, &g->slots->chunk[number], reason) != 0) {
    watchdog_leave ();
    g->slots->chunk[number] = NULL;
    g->retry_at = clock_ms () + RETRY_MS;
    log_debug ("elastic: cannot allocate a chunk: %s", reason);
    return false;
  }
  g->held++;
  g->noted_free -= g->size < g->noted_free ? g->size : g->noted_free;
  if (p->f->map (p, g->slots->chunk[number], SPARE_ALL, reason) == -1) {
    log_debug ("elastic: cannot map a chunk: %s", reason);
    g->retry_at = clock_ms () + RETRY_MS;
  }
  /* Always zeroed: a read that races with a trim may see its content. */
  else if (zero_chunk (g, number) == 0 && keep_chunk (g, number) == 0) {
    elastic_put_reserve (g->e, number);
    return true;
  }
  free_chunk (g, number, false);
  return false;
}

/* Take away the chunk of SLOT if the slot is empty.  Returns the chunk's
 * number, or -1.
 */
static int
release_slot (struct governor *g, unsigned slot)
{
  const uint64_t word = atomic_load (&g->e->table[slot]);

  if (SLOT_STATE (word) != SLOT_VRAM ||
      slots_have_data (g->slots, g->map, slot) ||
      !elastic_stop (g->e, slot, word, SLOT_LOCKED))
    return -1;
  /* A write may have come before the flag was set. */
  if (slots_have_data (g->slots, g->map, slot)) {
    elastic_go_on (g->e, slot, word);
    return -1;
  }
  elastic_go_on (g->e, slot, SLOT_EMPTY);
  g->empty_since[slot] = 0;
  return (int) SLOT_CHUNK (word);
}

/*
 * Moves.
 */

/* The blocks [*FIRST, *END) of SLOT. */
static void
find_blocks (const struct governor *g, unsigned slot, uint64_t *first,
             uint64_t *end)
{
  const uint64_t blocks = g->slots->size / BLOCK_SIZE;

  *first = slot * g->size / BLOCK_SIZE;
  *end = *first + g->size / BLOCK_SIZE;
  if (*end > blocks)
    *end = blocks;
}

static uint64_t
count_blocks (const struct governor *g, unsigned slot)
{
  uint64_t at, end, n, count = 0;
  bool data;

  for (find_blocks (g, slot, &at, &end); at < end; at += n) {
    n = blockmap_run (g->map, at, end, &data);
    count += data ? n : 0;
  }
  return count;
}

/* The end of the piece that moves at once, from FIRST on: data and short gaps
 * in it.  Returns FIRST if that block has been trimmed meanwhile.
 */
static uint64_t
find_end (const struct governor *g, uint64_t first, uint64_t end)
{
  uint64_t n, last = first;
  bool data;

  if (end > first + g->buffer_bytes / BLOCK_SIZE)
    end = first + g->buffer_bytes / BLOCK_SIZE;
  for (uint64_t at = first; at < end; at += n) {
    n = blockmap_run (g->map, at, end, &data);
    if (data)
      last = at + n;
    else if (n > GAP_BLOCKS)
      break;
  }
  return last;
}

/* Zero the blocks without data in the buffer, which holds the blocks [FIRST,
 * END) of the spill file.  In VRAM such blocks must be zeros.
 */
static void
clear_gaps (struct governor *g, uint64_t first, uint64_t end)
{
  uint64_t n;
  bool data;

  for (uint64_t at = first; at < end; at += n) {
    n = blockmap_run (g->map, at, end, &data);
    if (!data)
      memset (g->buffer + (at - first) * BLOCK_SIZE, 0, n * BLOCK_SIZE);
  }
}

/* Copy the blocks [FIRST, END) between CHUNK and the spill file. */
static int
move_blocks (struct governor *g, struct chunk *chunk, uint64_t first,
             uint64_t end, enum slot_state to, uint64_t until)
{
  struct provider *p = g->slots->provider;
  const uint64_t offset = first * BLOCK_SIZE;
  const uint64_t in_slot = offset & (g->size - 1);
  const size_t bytes = (end - first) * BLOCK_SIZE;
  int r;

  if (to == SLOT_SPILL) {
    r = p->f->read (p, chunk, in_slot, g->buffer, bytes);
    return r == 0 ? spill_write_moved (g->e->spill, bytes, offset, until) : -1;
  }
  r = spill_read_moved (g->e->spill, bytes, offset, until);
  if (r == -1)
    return -1;
  clear_gaps (g, first, end);
  return p->f->write (p, chunk, in_slot, g->buffer, bytes);
}

/* Copy the data of SLOT, which is frozen, to or from the chunk NUMBER. */
static int
move_data (struct governor *g, unsigned slot, unsigned number,
           enum slot_state to)
{
  const uint64_t until = spill_until (g->e->spill);
  uint64_t at, end, n, stop;
  bool data;

  for (find_blocks (g, slot, &at, &end); at < end; at += n) {
    n = blockmap_run (g->map, at, end, &data);
    if (!data)
      continue;
    stop = find_end (g, at, end);
    if (stop == at)
      continue;
    n = stop - at;
    if (move_blocks (g, g->slots->chunk[number], at, stop, to, until) == -1)
      return -1;
  }
  return 0;
}

/* Move SLOT from the place WORD to the place NEW, of which one is the chunk
 * NUMBER.  Returns 0, or -1 with the slot unchanged.
 */
static int
move_slot (struct governor *g, unsigned slot, uint64_t word, uint64_t new,
           unsigned number)
{
  if (!elastic_stop (g->e, slot, word, SLOT_FROZEN))
    return -1;
  if (move_data (g, slot, number, SLOT_STATE (new)) == -1) {
    elastic_go_on (g->e, slot, word);
    return -1;
  }
  /* Wait until reads of the old place have ended. */
  if (!elastic_stop (g->e, slot, word | SLOT_FROZEN, SLOT_LOCKED))
    return -1;
  elastic_go_on (g->e, slot, new);
  return 0;
}

/* The slot in VRAM that costs least to move out, or -1: one with little data,
 * else a cold one, else the one with the least data.
 */
static int
choose_victim (const struct governor *g)
{
  const uint64_t blocks = g->size / BLOCK_SIZE;
  uint64_t cost, least = UINT64_MAX;
  int victim = -1;

  for (unsigned i = 0; i < g->slots->count; ++i) {
    if (SLOT_STATE (atomic_load (&g->e->table[i])) != SLOT_VRAM ||
        !elastic_can_spill (g->e, i))
      continue;
    cost = count_blocks (g, i);
    if (cost >= blocks / 8)
      cost += atomic_load (&g->e->cold[i]) ? blocks : 2 * blocks;
    if (cost < least) {
      least = cost;
      victim = (int) i;
    }
  }
  return victim;
}

/* Move SLOT to the spill file; -1 does nothing.  Returns the chunk that it
 * had, or -1.
 */
static int
move_out (struct governor *g, int slot)
{
  uint64_t word;

  if (slot == -1)
    return -1;
  word = atomic_load (&g->e->table[slot]);
  if (move_slot (g, (unsigned) slot, word, SLOT_SPILL, SLOT_CHUNK (word)) ==
      -1)
    return -1;
  g->empty_since[slot] = 0;
  atomic_fetch_add (&g->e->shared->moves_out, 1);
  return (int) SLOT_CHUNK (word);
}

/* A slot in the spill file that is not cold, else a cold one, else -1. */
static int
choose_returner (const struct governor *g)
{
  int slot = -1;

  for (unsigned i = 0; i < g->slots->count; ++i)
    if (SLOT_STATE (atomic_load (&g->e->table[i])) == SLOT_SPILL &&
        (slot == -1 || !atomic_load (&g->e->cold[i])))
      slot = (int) i;
  return slot;
}

/* Move SLOT back into a chunk of the reserve; -1 does nothing. */
static void
move_back (struct governor *g, int slot)
{
  int number;

  number = slot == -1 ? -1 : elastic_take_reserve (g->e);
  if (number == -1)
    return;
  g->back_at = clock_ms () + BACK_EACH_MS;
  if (move_slot (g, (unsigned) slot, SLOT_SPILL,
                 SLOT_IN_VRAM ((unsigned) number), (unsigned) number) == 0) {
    atomic_fetch_add (&g->e->shared->moves_back, 1);
    return;
  }
  g->back_at = clock_ms () + BACK_RETRY_MS;
  free_chunk (g, (unsigned) number, true);
}

/* Make SLOT, which is in the spill file, empty if it holds no data any more.
 */
static void
release_spilled (struct governor *g, unsigned slot)
{
  if (slots_have_data (g->slots, g->map, slot) ||
      !elastic_stop (g->e, slot, SLOT_SPILL, SLOT_LOCKED))
    return;
  elastic_go_on (g->e, slot,
                 slots_have_data (g->slots, g->map, slot) ? SLOT_SPILL
                                                          : SLOT_EMPTY);
}

/* From time to time, mark all slots as cold.  A request clears the mark. */
static void
age (struct governor *g)
{
  const uint64_t now = clock_ms ();

  if (g->e->spill == NULL || now - g->aged_at < COLD_MS)
    return;
  g->aged_at = now;
  for (unsigned i = 0; i < g->slots->count; ++i)
    atomic_store_explicit (&g->e->cold[i], true, memory_order_relaxed);
}

/*
 * Giving back.
 */

static void
count_given_back (struct governor *g, enum give_back why)
{
  atomic_fetch_add (&g->e->shared->given_back[why], g->size);
}

/* Give back one chunk: of the reserve, else of an empty slot, else, with
 * MAY_MOVE, of a slot that moves to the spill file.
 */
static bool
give_back_one (struct governor *g, enum give_back why, bool may_move)
{
  int number = elastic_take_reserve (g->e);
  const bool dirty = number == -1;

  for (unsigned i = 0; number == -1 && i < g->slots->count; ++i)
    number = release_slot (g, i);
  if (number == -1 && may_move)
    number = move_out (g, choose_victim (g));
  if (number == -1)
    return false;
  free_chunk (g, (unsigned) number, dirty);
  count_given_back (g, why);
  return true;
}

/* Look for empty slots.  Move chunks of slots that have been empty for
 * EMPTY_MS to the reserve, up to TARGET, or give them back.
 */
static void
scan (struct governor *g, unsigned target)
{
  const uint64_t now = clock_ms ();
  int number;

  atomic_store (&g->e->trimmed, false);
  g->scan_at = 0;
  g->scanned_at = now;
  for (unsigned i = 0; i < g->slots->count; ++i) {
    if (SLOT_STATE (atomic_load (&g->e->table[i])) == SLOT_SPILL)
      release_spilled (g, i);
    if (SLOT_STATE (atomic_load (&g->e->table[i])) != SLOT_VRAM ||
        slots_have_data (g->slots, g->map, i)) {
      g->empty_since[i] = 0;
      continue;
    }
    if (g->empty_since[i] == 0)
      g->empty_since[i] = now;
    if (now - g->empty_since[i] < EMPTY_MS && !g->options.restless) {
      g->scan_at = now + SCAN_MS;
      continue;
    }
    number = release_slot (g, i);
    if (number == -1)
      continue;
    if (elastic_reserve (g->e) < target &&
        zero_chunk (g, (unsigned) number) == 0)
      elastic_put_reserve (g->e, (unsigned) number);
    else {
      free_chunk (g, (unsigned) number, true);
      count_given_back (g, GIVE_BACK_TRIM);
    }
  }
}

/*
 * Policy.
 */

/* Find out how many bytes are free, and how many of those that were given back
 * are still in use (CLOSING).  Returns false after log_error.
 */
static bool
look_at_free (struct governor *g, uint64_t *bytes_free)
{
  struct provider *p = g->slots->provider;
  const uint64_t now = clock_ms ();
  uint64_t more;
  int r;

  r = p->f->free_bytes (p, bytes_free);
  watchdog_leave ();
  if (r == -1)
    return false;
  if (*bytes_free > g->noted_free + CHANGE_MIN ||
      *bytes_free + CHANGE_MIN < g->noted_free) {
    g->noted_free = *bytes_free;
    g->changed_at = now;
  }
  more = *bytes_free > g->last_free ? *bytes_free - g->last_free : 0;
  g->closing = g->closing > more ? g->closing - more : 0;
  if (now - g->closing_at > CLOSE_MS)
    g->closing = 0;
  g->last_free = *bytes_free;
  return true;
}

/* The limit in bytes that SET, the superblock's, means. */
static uint64_t
limit_of (const struct governor *g, uint64_t set)
{
  return set == 0 ? g->options.limit : set;
}

static uint64_t
current_limit (const struct governor *g)
{
  return limit_of (g, atomic_load (&g->e->shared->limit));
}

/* How many chunks have to be given back, and why. */
static unsigned
count_over (const struct governor *g, uint64_t bytes_free, enum give_back *why)
{
  const uint64_t held = g->held * g->size, limit = current_limit (g);
  uint64_t over = 0;

  if (held > limit) {
    over = held - limit;
    *why = GIVE_BACK_LIMIT;
  }
  if (bytes_free < g->options.headroom &&
      g->options.headroom - bytes_free > over) {
    over = g->options.headroom - bytes_free;
    *why = GIVE_BACK_HEADROOM;
  }
  return (unsigned) ((over + g->size - 1) / g->size);
}

/* Give back N chunks, of which MOVES may be of slots that have to move.
 * Returns how many were given back.
 */
static unsigned
give_back (struct governor *g, unsigned n, unsigned moves, enum give_back why)
{
  unsigned given = 0;

  if (g->over_since == 0)
    g->over_since = clock_ns () / 1000;
  g->refill_at = clock_ms () + REFILL_MS;
  g->back_at = clock_ms () + BACK_AFTER_MS;
  while (given < n && give_back_one (g, why, given < moves)) {
    g->changed_at = clock_ms ();
    ++given;
  }
  return given;
}

/* Nothing more has to be given back: note how long that took. */
static void
note_time (struct governor *g)
{
  const uint64_t us = clock_ns () / 1000 - g->over_since;

  if (g->over_since && us > atomic_load (&g->e->shared->give_back_us_max))
    atomic_store (&g->e->shared->give_back_us_max, us);
  g->over_since = 0;
}

/* Count the slots without VRAM, up to MOST. */
static unsigned
count_room (const struct governor *g, unsigned most)
{
  unsigned room = 0;

  for (unsigned i = 0; i < g->slots->count && room < most; ++i)
    room += SLOT_STATE (atomic_load (&g->e->table[i])) != SLOT_VRAM;
  return room;
}

/* How many chunks the reserve should have. */
static unsigned
reserve_target (const struct governor *g)
{
  return count_room (g, slots_reserve (g->slots));
}

/* Whether one more chunk may be held.  With URGENT a write waits for it. */
static bool
may_grow (struct governor *g, uint64_t bytes_free, bool urgent)
{
  const uint64_t now = clock_ms ();

  return now >= g->retry_at &&
         (urgent || now >= g->refill_at || g->options.restless) &&
         (g->held + 1) * g->size <= current_limit (g) &&
         bytes_free >= g->options.headroom + g->size + (urgent ? 0 : g->size);
}

/* Move the chunk of an empty slot to the reserve. */
static bool
recycle_chunk (struct governor *g)
{
  int number = -1;

  for (unsigned i = 0; number == -1 && i < g->slots->count; ++i)
    number = release_slot (g, i);
  if (number == -1)
    return false;
  if (zero_chunk (g, (unsigned) number) == 0)
    elastic_put_reserve (g->e, (unsigned) number);
  else
    free_chunk (g, (unsigned) number, false);
  return true;
}

/* Whether there is too little VRAM even for a write that waits for it. */
static bool
is_short (struct governor *g, uint64_t bytes_free)
{
  return clock_ms () >= g->store_at && !may_grow (g, bytes_free, true);
}

/* Fill the reserve up to TARGET chunks.  Returns whether it has as many. */
static bool
fill_reserve (struct governor *g, unsigned target, uint64_t bytes_free)
{
  while (elastic_reserve (g->e) < target) {
    const bool urgent =
        elastic_waiting (g->e) > 0 && elastic_reserve (g->e) == 0;

    const bool grows = may_grow (g, bytes_free, urgent);

    /* First let the write end that took a chunk: the driver holds it up while
     * it makes one.
     */
    if (grows && !urgent && g->running)
      clock_sleep_us (AFTER_WRITE_US);
    if (grows && make_chunk (g))
      bytes_free -= g->size;
    else if (elastic_waiting (g->e) == 0 || !recycle_chunk (g))
      return false;
  }
  return true;
}

/* Whether enough VRAM is free to move a slot back into a chunk of the reserve,
 * and to refill that.  It need not be refilled if all other slots are in VRAM.
 */
static bool
may_move_back (const struct governor *g, uint64_t bytes_free)
{
  const unsigned room = count_room (g, slots_reserve (g->slots) + 1);
  const uint64_t more = elastic_reserve (g->e) < room ? g->size : 0;

  return g->e->spill && clock_ms () >= g->back_at &&
         g->held * g->size + more <= current_limit (g) &&
         bytes_free >= g->options.headroom + g->size + 2 * more;
}

/* Move a random slot. */
static void
move_any (struct governor *g)
{
  unsigned slot;
  uint64_t word;

  g->random = g->random * UINT64_C (6364136223846793005) + 1;
  slot = (unsigned) (g->random >> 33) % g->slots->count;
  word = atomic_load (&g->e->table[slot]);
  if (SLOT_STATE (word) == SLOT_SPILL)
    move_back (g, (int) slot);
  else if (SLOT_STATE (word) == SLOT_VRAM && elastic_can_spill (g->e, slot) &&
           move_out (g, (int) slot) != -1)
    free_chunk (g, SLOT_CHUNK (word), true);
}

/* After how many ms to look again.  GROWS: more of the spill file is going to
 * be ready than store_facts has seen.
 */
static unsigned
next_look (const struct governor *g, bool wants_more, bool grows)
{
  const uint64_t now = clock_ms ();
  unsigned ms = GOVERNOR_SLEEP;

  if (g->options.restless)
    return FAST_MS;
  if (g->options.headroom > 0 || wants_more)
    ms = now - g->changed_at < FAST_FOR_MS ? FAST_MS : REST_MS;
  else if (grows)
    ms = REST_MS;
  if (g->scan_at && (ms == GOVERNOR_SLEEP || g->scan_at < now + ms))
    ms = g->scan_at > now ? (unsigned) (g->scan_at - now) : 0;
  return ms;
}

static unsigned
step (struct governor *g)
{
  const uint64_t limit = atomic_load (&g->e->shared->limit);
  const unsigned target = reserve_target (g);
  uint64_t bytes_free = UINT64_MAX / 2;
  enum give_back why = GIVE_BACK_LIMIT;
  unsigned over, now_over, given = 0;
  bool full = true, grows;

  if ((g->options.headroom > 0 || elastic_reserve (g->e) < target ||
       atomic_load (&g->e->shared->spilled) > 0) &&
      !look_at_free (g, &bytes_free))
    return REST_MS;
  /* No slot moves for VRAM that is about to be free.  But a program may take
   * that as soon as it is, so what costs little is given back at once.
   */
  over = count_over (g, bytes_free + g->closing, &why);
  now_over = count_over (g, bytes_free, &why);
  if (now_over > 0)
    given = give_back (g, now_over, over, why);
  over = over > given ? over - given : 0;
  if (given == 0 && over == 0) {
    note_time (g);
    full = fill_reserve (g, target, bytes_free);
    if (g->options.restless)
      move_any (g);
    else if (full && may_move_back (g, bytes_free))
      move_back (g, choose_returner (g));
  }
  if (g->held * g->size <= limit_of (g, limit))
    atomic_store (&g->e->shared->limit_obeyed, limit);
  elastic_set_short (g->e, over > 0 || (!full && is_short (g, bytes_free)));
  if (atomic_load (&g->e->trimmed) && g->scan_at == 0)
    g->scan_at = g->scanned_at + (g->options.restless ? 0 : SCAN_MS);
  if (g->scan_at && clock_ms () >= g->scan_at)
    scan (g, full && over == 0 ? slots_reserve (g->slots) : 0);
  age (g);
  grows = g->e->spill && spill_grows (g->e->spill);
  store_facts (g);
  /* A program that takes VRAM goes on taking it. */
  if (given > 0)
    return 0;
  return next_look (g,
                    over > 0 || elastic_reserve (g->e) < reserve_target (g) ||
                        atomic_load (&g->e->shared->spilled) > 0,
                    grows);
}

unsigned
governor_step (struct governor *g)
{
  return atomic_load (&g->e->failed) ? GOVERNOR_SLEEP : step (g);
}

/*
 * The thread.
 */

/* Sleep for MS, or until WAKE differs from SEEN. */
static void
sleep_until_woken (struct governor *g, uint32_t seen, unsigned ms)
{
  const struct timespec timeout = {
    .tv_sec = ms / 1000,
    .tv_nsec = (long) (ms % 1000) * 1000000,
  };

  syscall (SYS_futex, &g->e->shared->wake, FUTEX_WAIT, seen,
           ms == GOVERNOR_SLEEP ? NULL : &timeout, NULL, 0);
}

static void *
run (void *arg)
{
  struct governor *g = arg;
  uint32_t seen;

  memlock_touch_stack ();
  memlock_check_thread ();
  watchdog_add_thread (&g->wait);
  for (;;) {
    seen = atomic_load (&g->e->shared->wake);
    if (atomic_load (&g->stop))
      break;
    sleep_until_woken (g, seen, governor_step (g));
  }
  watchdog_remove_thread ();
  atomic_store (&g->ended, true);
  return NULL;
}

struct governor *
governor_create (struct slots *slots, const struct blockmap *map,
                 const struct governor_options *options)
{
  struct governor *g = calloc (1, sizeof *g);

  if (g == NULL) {
    log_error ("calloc: %m");
    return NULL;
  }
  g->slots = slots;
  g->e = slots->elastic;
  g->map = map;
  g->options = *options;
  g->size = UINT64_C (1) << slots->shift;
  g->e->map = map;
  if (g->e->spill) {
    g->buffer_bytes = g->size < MOVE_BYTES ? g->size : MOVE_BYTES;
    g->buffer = spill_move_buffer (g->e->spill, g->buffer_bytes);
    if (g->buffer == NULL) {
      free (g);
      return NULL;
    }
  }
  for (unsigned i = 0; i < slots->count; ++i)
    g->held += slots->chunk[i] != NULL;
  /* The earlier server may have left empty slots. */
  atomic_store (&g->e->trimmed, true);
  store_facts (g);
  return g;
}

int
governor_start (struct governor *g)
{
  g->running = true;
  if (thread_start (&g->thread, run, g) == -1) {
    g->running = false;
    return -1;
  }
  elastic_set_stopped (g->e, false);
  return 0;
}

/* Wait until the thread has ended, at most JOIN_MS after the GPU is lost. */
static int
join (struct governor *g)
{
  bool failed;

  do {
    failed = atomic_load (&g->e->failed);
    if (thread_join (g->thread, &g->ended, JOIN_MS) == 0)
      return 0;
  } while (!failed);
  return -1;
}

int
governor_stop (struct governor *g)
{
  if (g == NULL || !g->running)
    return 0;
  atomic_store (&g->stop, true);
  elastic_wake (g->e);
  elastic_set_stopped (g->e, true);
  if (join (g) == -1)
    return -1;
  g->running = false;
  return 0;
}

int
governor_free (struct governor *g)
{
  if (governor_stop (g) == -1)
    return -1;
  free (g);
  return 0;
}
