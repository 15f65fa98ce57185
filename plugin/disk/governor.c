/* nbdkit-vram: the thread that takes VRAM for an elastic disk and gives it back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
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

/* How often to look at free VRAM, in ms: while it changes, for how long after a
 * change, and at rest.
 */
#define FAST_MS     1
#define FAST_FOR_MS 1000
#define REST_MS     100

/* How long a slot has held nothing before its chunk is given back: it may be
 * written again at once.
 */
#define EMPTY_MS 2000

/* How often to look for such slots at most, in ms. */
#define SCAN_MS 500

/* After VRAM has been given back the reserve is filled again no sooner, unless a
 * write waits; and when an allocation has failed, whether or not one waits.
 */
#define REFILL_MS 2000
#define RETRY_MS  100

/* When the store has refused a chunk. */
#define STORE_RETRY_MS 10000

/* How long it may take until VRAM that has been given back is free: the programs
 * that keep its descriptor have to close it.
 */
#define CLOSE_MS 20

/* How long to wait for a thread that may hang in the driver. */
#define JOIN_S 1

struct governor {
  struct slots *slots;
  struct elastic *e;
  const struct blockmap *map;
  struct governor_options options;
  uint64_t size; /* of a chunk */

  unsigned held;                    /* chunks */
  uint64_t empty_since[CHUNKS_MAX]; /* of slots, ms; 0: has held data */
  uint64_t scan_at;    /* when to look for empty slots, ms; 0: never */
  uint64_t scanned_at; /* when that was done last */

  uint64_t last_free;  /* bytes */
  uint64_t changed_at; /* when they were others, ms */
  uint64_t closing;    /* bytes given back that may not be free yet */
  uint64_t closing_at; /* since when, ms */
  uint64_t refill_at;  /* not before, ms */
  uint64_t retry_at;
  uint64_t over_since; /* us: since when there is something to give back */

  pthread_t thread;
  bool running;
  atomic_bool stop;
  struct watchdog_wait wait;
};

/*
 * Facts.
 */

static void
store_facts (struct governor *g)
{
  struct superblock_shared *shared = g->e->shared;
  uint64_t in_vram = 0, least = 0;

  for (unsigned i = 0; i < g->slots->count; ++i) {
    if (SLOT_STATE (atomic_load (&g->e->table[i])) != SLOT_VRAM)
      continue;
    in_vram += g->size;
    if (g->empty_since[i] == 0)
      least += g->size;
  }
  atomic_store (&shared->elastic, ELASTIC_YES);
  atomic_store (&shared->vram_held, g->held * g->size);
  atomic_store (&shared->vram_slots, in_vram);
  atomic_store (&shared->vram_least, least);
}

/*
 * Chunks.
 */

/* Give the chunk NUMBER back to the driver.  DIRTY: it may hold data. */
static void
free_chunk (struct governor *g, unsigned number, bool dirty)
{
  struct provider *p = g->slots->provider;

  if (dirty && g->options.scrub && slots_zero_chunk (g->slots, number) == -1)
    log_error ("cannot overwrite VRAM before it is given back");
  p->f->free (p, g->slots->chunk[number]);
  g->slots->chunk[number] = NULL;
  g->held--;
  if (g->options.store) {
    g->options.store->remove (number);
    g->closing += g->size;
    g->closing_at = clock_ms ();
  }
}

/* Have the store keep the chunk NUMBER.  What an earlier server had under that
 * name goes first.
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
  g->refill_at = g->retry_at = clock_ms () + STORE_RETRY_MS;
  return -1;
}

/* Put one more chunk into the reserve.  Returns whether there is one. */
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
    g->slots->chunk[number] = NULL;
    g->retry_at = clock_ms () + RETRY_MS;
    log_debug ("elastic: cannot allocate a chunk: %s", reason);
    return false;
  }
  g->held++;
  if (p->f->map (p, g->slots->chunk[number], SPARE_ALL, reason) == -1) {
    log_debug ("elastic: cannot map a chunk: %s", reason);
    g->retry_at = clock_ms () + RETRY_MS;
  }
  /* Always: a read that races with a trim may see what it holds. */
  else if (slots_zero_chunk (g->slots, number) == 0 &&
           keep_chunk (g, number) == 0) {
    elastic_put_reserve (g->e, number);
    return true;
  }
  free_chunk (g, number, false);
  return false;
}

/* Take the chunk of SLOT away, if it holds nothing.  Returns the chunk's number,
 * or -1.
 */
static int
release_slot (struct governor *g, unsigned slot)
{
  const uint64_t word = atomic_load (&g->e->table[slot]);

  if (SLOT_STATE (word) != SLOT_VRAM ||
      slots_have_data (g->slots, g->map, slot) ||
      !elastic_stop (g->e, slot, word, SLOT_LOCKED))
    return -1;
  /* A write may have come before the flag. */
  if (slots_have_data (g->slots, g->map, slot)) {
    elastic_go_on (g->e, slot, word);
    return -1;
  }
  elastic_go_on (g->e, slot, SLOT_EMPTY);
  g->empty_since[slot] = 0;
  return (int) SLOT_CHUNK (word);
}

static void
count_given_back (struct governor *g, enum give_back why)
{
  atomic_fetch_add (&g->e->shared->given_back[why], g->size);
}

/* Give one chunk back: of the reserve, else of a slot that holds nothing. */
static bool
give_back_one (struct governor *g, enum give_back why)
{
  int number = elastic_take_reserve (g->e);
  const bool dirty = number == -1;

  for (unsigned i = 0; number == -1 && i < g->slots->count; ++i)
    number = release_slot (g, i);
  if (number == -1)
    return false;
  free_chunk (g, (unsigned) number, dirty);
  count_given_back (g, why);
  return true;
}

/* Look for slots that hold nothing; give the chunks back of those that have not
 * for some time, or keep them in the reserve.
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
    if (SLOT_STATE (atomic_load (&g->e->table[i])) != SLOT_VRAM ||
        slots_have_data (g->slots, g->map, i)) {
      g->empty_since[i] = 0;
      continue;
    }
    if (g->empty_since[i] == 0)
      g->empty_since[i] = now;
    if (now - g->empty_since[i] < EMPTY_MS) {
      g->scan_at = now + SCAN_MS;
      continue;
    }
    number = release_slot (g, i);
    if (number == -1)
      continue;
    if (elastic_reserve (g->e) < target &&
        slots_zero_chunk (g->slots, (unsigned) number) == 0)
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

/* How many bytes are free, those among them that are being closed. */
static bool
look_at_free (struct governor *g, uint64_t *bytes_free)
{
  struct provider *p = g->slots->provider;
  const uint64_t now = clock_ms ();
  uint64_t more;

  if (p->f->free_bytes (p, bytes_free) == -1)
    return false;
  if (*bytes_free != g->last_free)
    g->changed_at = now;
  more = *bytes_free > g->last_free ? *bytes_free - g->last_free : 0;
  g->closing = g->closing > more ? g->closing - more : 0;
  if (now - g->closing_at > CLOSE_MS)
    g->closing = 0;
  g->last_free = *bytes_free;
  *bytes_free += g->closing;
  return true;
}

static uint64_t
current_limit (const struct governor *g)
{
  const uint64_t limit = atomic_load (&g->e->shared->limit);

  return limit == 0 ? g->options.limit : limit;
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

/* Give N chunks back, if there are so many.  Returns how many were not. */
static unsigned
give_back (struct governor *g, unsigned n, enum give_back why)
{
  if (g->over_since == 0)
    g->over_since = clock_ns () / 1000;
  while (n > 0 && give_back_one (g, why))
    --n;
  g->refill_at = clock_ms () + REFILL_MS;
  g->changed_at = clock_ms ();
  return n;
}

/* There is nothing to give back any more. */
static void
note_time (struct governor *g)
{
  const uint64_t us = clock_ns () / 1000 - g->over_since;

  if (g->over_since && us > atomic_load (&g->e->shared->give_back_us_max))
    atomic_store (&g->e->shared->give_back_us_max, us);
  g->over_since = 0;
}

/* How many chunks the reserve is to have. */
static unsigned
reserve_target (struct governor *g)
{
  unsigned room = 0;

  for (unsigned i = 0; i < g->slots->count && room < RESERVE_CHUNKS; ++i)
    room += SLOT_STATE (atomic_load (&g->e->table[i])) != SLOT_VRAM;
  return room;
}

/* Whether one more chunk may be held. */
static bool
may_grow (struct governor *g, uint64_t bytes_free)
{
  const bool urgent =
      elastic_waiting (g->e) > 0 && elastic_reserve (g->e) == 0;
  const uint64_t now = clock_ms ();

  return now >= g->retry_at && (urgent || now >= g->refill_at) &&
         (g->held + 1) * g->size <= current_limit (g) &&
         bytes_free >= g->options.headroom + g->size + (urgent ? 0 : g->size);
}

/* Take a slot that holds nothing its chunk away, for the reserve. */
static bool
recycle_chunk (struct governor *g)
{
  int number = -1;

  for (unsigned i = 0; number == -1 && i < g->slots->count; ++i)
    number = release_slot (g, i);
  if (number == -1)
    return false;
  if (slots_zero_chunk (g->slots, (unsigned) number) == 0)
    elastic_put_reserve (g->e, (unsigned) number);
  else
    free_chunk (g, (unsigned) number, false);
  return true;
}

/* Bring the reserve to TARGET.  Returns whether it is. */
static bool
fill_reserve (struct governor *g, unsigned target, uint64_t bytes_free)
{
  while (elastic_reserve (g->e) > target) {
    free_chunk (g, (unsigned) elastic_take_reserve (g->e), false);
    count_given_back (g, GIVE_BACK_TRIM);
  }
  while (elastic_reserve (g->e) < target) {
    if (!may_grow (g, bytes_free) || !make_chunk (g)) {
      if (elastic_waiting (g->e) == 0 || !recycle_chunk (g))
        return false;
      continue;
    }
    bytes_free -= g->size;
    g->last_free -= g->size < g->last_free ? g->size : g->last_free;
  }
  return true;
}

/* Whether there is a headroom to watch.  It is not when no VRAM is held. */
static bool
watches_headroom (const struct governor *g)
{
  return g->options.headroom > 0 && g->held > 0;
}

/* After how many ms to look again. */
static unsigned
next_look (const struct governor *g, bool wants_more)
{
  const uint64_t now = clock_ms ();
  unsigned ms = GOVERNOR_SLEEP;

  if (watches_headroom (g) || wants_more)
    ms = now - g->changed_at < FAST_FOR_MS ? FAST_MS : REST_MS;
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
  unsigned over;
  bool full = true;

  if ((watches_headroom (g) || elastic_reserve (g->e) < target) &&
      !look_at_free (g, &bytes_free))
    return REST_MS;
  over = count_over (g, bytes_free, &why);
  if (over > 0)
    over = give_back (g, over, why);
  else {
    note_time (g);
    full = fill_reserve (g, target, bytes_free);
  }
  if (g->held * g->size <= current_limit (g))
    atomic_store (&g->e->shared->limit_obeyed, limit);
  elastic_set_short (g->e, !full || over > 0);
  if (atomic_load (&g->e->trimmed) && g->scan_at == 0)
    g->scan_at = g->scanned_at + SCAN_MS;
  if (g->scan_at && clock_ms () >= g->scan_at)
    scan (g, full && over == 0 ? RESERVE_CHUNKS : 0);
  store_facts (g);
  return next_look (g,
                    over > 0 || elastic_reserve (g->e) < reserve_target (g));
}

unsigned
governor_step (struct governor *g)
{
  unsigned ms;

  if (atomic_load (&g->e->failed))
    return GOVERNOR_SLEEP;
  ms = step (g);
  watchdog_leave ();
  return ms;
}

/*
 * The thread.
 */

/* Sleep for MS, or until WAKE has another value than SEEN. */
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
  for (unsigned i = 0; i < slots->count; ++i)
    g->held += slots->chunk[i] != NULL;
  /* Slots may have been emptied before. */
  atomic_store (&g->e->trimmed, true);
  store_facts (g);
  return g;
}

int
governor_start (struct governor *g)
{
  if (thread_start (&g->thread, run, g) == -1)
    return -1;
  g->running = true;
  elastic_set_stopped (g->e, false);
  return 0;
}

int
governor_stop (struct governor *g)
{
  const struct timespec until =
      clock_after_ns (JOIN_S * UINT64_C (1000000000));

  if (g == NULL || !g->running)
    return 0;
  atomic_store (&g->stop, true);
  elastic_wake (g->e);
  elastic_set_stopped (g->e, true);
  if (!atomic_load (&g->e->failed))
    pthread_join (g->thread, NULL);
  else if (pthread_clockjoin_np (g->thread, NULL, CLOCK_MONOTONIC, &until) !=
           0)
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
