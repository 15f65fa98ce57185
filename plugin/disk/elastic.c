/* nbdkit-vram: slots whose VRAM comes and goes while requests are served
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "disk/elastic.h"

/* How long a write waits for a chunk while VRAM is known to be short.  It may
 * become free at any moment, but clients should not wait longer.
 */
#define SHORT_MS 1000

/* How often the governor looks whether pins have ended. */
#define PINS_US 20

/* The calling thread's shard of pins, from 1.  initial-exec: no allocation on
 * first use.
 */
static _Thread_local unsigned shard
    __attribute__ ((tls_model ("initial-exec")));
static atomic_uint threads;

static struct pins *
my_pins (struct elastic *e)
{
  if (shard == 0)
    shard = atomic_fetch_add (&threads, 1) % PIN_SHARDS + 1;
  return &e->pins[shard - 1];
}

struct elastic *
elastic_create (unsigned slots, uint64_t size,
                const struct superblock *superblock, unsigned timeout_ms)
{
  struct elastic *e = calloc (1, sizeof *e);

  if (e)
    e->pins = aligned_alloc (64, PIN_SHARDS * sizeof *e->pins);
  if (e == NULL || e->pins == NULL) {
    log_error ("cannot allocate the slot table: %m");
    free (e);
    return NULL;
  }
  memset (e->pins, 0, PIN_SHARDS * sizeof *e->pins);
  e->size = size;
  e->timeout_ms = timeout_ms;
  e->stopped = true;
  e->table = e->own_table;
  e->shared = &e->own_shared;
  pthread_mutex_init (&e->lock, NULL);
  pthread_cond_init (&e->changed, NULL);
  if (superblock) {
    e->table = superblock->slots;
    e->shared = superblock->shared;
    /* Clear the flags of a server that has died. */
    for (unsigned i = 0; i < slots; ++i)
      atomic_fetch_and (&e->table[i], ~(SLOT_FROZEN | SLOT_LOCKED));
  }
  return e;
}

void
elastic_free (struct elastic *e)
{
  if (e == NULL)
    return;
  pthread_cond_destroy (&e->changed);
  pthread_mutex_destroy (&e->lock);
  free (e->pins);
  free (e);
}

void
elastic_move_to (struct elastic *e, const struct superblock *superblock)
{
  e->table = superblock->slots;
  e->shared = superblock->shared;
}

void
elastic_wake (struct elastic *e)
{
  atomic_fetch_add (&e->shared->wake, 1);
  syscall (SYS_futex, &e->shared->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void
elastic_trim (struct elastic *e)
{
  if (!atomic_load_explicit (&e->trimmed, memory_order_relaxed) &&
      !atomic_exchange (&e->trimmed, true))
    elastic_wake (e);
}

void
elastic_fail (struct elastic *e)
{
  atomic_store (&e->failed, true);
  pthread_mutex_lock (&e->lock);
  pthread_cond_broadcast (&e->changed);
  pthread_mutex_unlock (&e->lock);
}

/*
 * Pins.
 */

/* The flags that a pin of KIND waits for. */
static uint64_t
flags_against (enum pin kind)
{
  return kind == PIN_WRITE ? SLOT_FROZEN | SLOT_LOCKED : SLOT_LOCKED;
}

/* Wait until SLOT has none of FLAGS. */
static void
wait_for_flags (struct elastic *e, unsigned slot, uint64_t flags)
{
  pthread_mutex_lock (&e->lock);
  while (atomic_load (&e->table[slot]) & flags && !atomic_load (&e->failed))
    pthread_cond_wait (&e->changed, &e->lock);
  pthread_mutex_unlock (&e->lock);
}

/* Wait for the reserve, with the lock held, for a write that began to wait at
 * START (ms).  Returns 0, or -1 with errno set.
 */
static int
wait_for_chunk (struct elastic *e, uint64_t start)
{
  const unsigned ms =
      e->is_short && e->timeout_ms > SHORT_MS ? SHORT_MS : e->timeout_ms;
  uint64_t passed = clock_ms () - start;
  struct timespec until;

  if (atomic_load (&e->failed)) {
    errno = EIO;
    return -1;
  }
  if (e->stopped || passed >= ms) {
    errno = ENOSPC;
    return -1;
  }
  until = clock_after_ns ((ms - passed) * UINT64_C (1000000));
  pthread_cond_clockwait (&e->changed, &e->lock, CLOCK_MONOTONIC, &until);
  return 0;
}

bool
elastic_can_spill (const struct elastic *e, unsigned slot)
{
  /* Only bytes below SPILL_SIZE of the superblock may be used: the next server
   * overwrites the rest.
   */
  return e->spill && spill_works (e->spill) &&
         atomic_load (&e->shared->spill_size) >= (slot + 1) * e->size;
}

/* Give SLOT, which is pinned and empty, a chunk of the reserve, or its place
 * in the spill file if VRAM is short.
 */
static int
fill (struct elastic *e, unsigned slot, uint64_t *word)
{
  const uint64_t start = clock_ms ();
  bool waited = false;
  int r = 0, saved;

  pthread_mutex_lock (&e->lock);
  e->waiting++;
  while (r == 0 &&
         SLOT_STATE (*word = atomic_load (&e->table[slot])) == SLOT_EMPTY) {
    if (e->reserve > 0)
      atomic_store (&e->table[slot], SLOT_IN_VRAM (e->chunk[--e->reserve]));
    else if (e->is_short && elastic_can_spill (e, slot))
      atomic_store (&e->table[slot], SLOT_SPILL);
    else {
      if (!waited)
        elastic_wake (e);
      waited = true;
      r = wait_for_chunk (e, start);
    }
  }
  saved = errno;
  e->waiting--;
  pthread_mutex_unlock (&e->lock);
  elastic_wake (e);
  errno = saved;
  return r;
}

int
elastic_pin (struct elastic *e, unsigned slot, enum pin kind, uint64_t *word)
{
  atomic_uint *count = &my_pins (e)->count[slot][kind];
  int saved;

  for (;;) {
    atomic_fetch_add (count, 1);
    *word = atomic_load (&e->table[slot]);
    if (!(*word & flags_against (kind)))
      break;
    atomic_fetch_sub (count, 1);
    if (atomic_load (&e->failed)) {
      errno = EIO;
      return -1;
    }
    wait_for_flags (e, slot, flags_against (kind));
  }
  if (atomic_load_explicit (&e->cold[slot], memory_order_relaxed))
    atomic_store_explicit (&e->cold[slot], false, memory_order_relaxed);
  if (kind == PIN_READ || SLOT_STATE (*word) != SLOT_EMPTY ||
      fill (e, slot, word) == 0)
    return 0;
  saved = errno;
  atomic_fetch_sub (count, 1);
  if (saved == ENOSPC && !atomic_exchange (&e->refusing, true))
    log_error ("VRAM is short: writes to empty parts of the disk fail; end "
               "programs that use the GPU (nvidia-smi lists them), lower "
               "headroom=, or raise the limit");
  errno = saved;
  return -1;
}

void
elastic_unpin (struct elastic *e, unsigned slot, enum pin kind)
{
  atomic_fetch_sub (&my_pins (e)->count[slot][kind], 1);
}

/* Whether a request of KIND is at SLOT. */
static bool
is_pinned (struct elastic *e, unsigned slot, enum pin kind)
{
  for (unsigned i = 0; i < PIN_SHARDS; ++i)
    if (atomic_load (&e->pins[i].count[slot][kind]) > 0)
      return true;
  return false;
}

/*
 * For the governor.
 */

bool
elastic_stop (struct elastic *e, unsigned slot, uint64_t word, uint64_t flag)
{
  uint64_t expected = word;

  if (!atomic_compare_exchange_strong (&e->table[slot], &expected,
                                       word | flag))
    return false;
  while (is_pinned (e, slot, PIN_WRITE) ||
         (flag == SLOT_LOCKED && is_pinned (e, slot, PIN_READ))) {
    if (atomic_load (&e->failed)) {
      elastic_go_on (e, slot, word);
      return false;
    }
    clock_sleep_us (PINS_US);
  }
  return true;
}

void
elastic_go_on (struct elastic *e, unsigned slot, uint64_t word)
{
  pthread_mutex_lock (&e->lock);
  atomic_store (&e->table[slot], word & ~(SLOT_FROZEN | SLOT_LOCKED));
  pthread_cond_broadcast (&e->changed);
  pthread_mutex_unlock (&e->lock);
}

void
elastic_put_reserve (struct elastic *e, unsigned number)
{
  pthread_mutex_lock (&e->lock);
  e->chunk[e->reserve++] = (uint8_t) number;
  atomic_store (&e->refusing, false);
  pthread_cond_broadcast (&e->changed);
  pthread_mutex_unlock (&e->lock);
}

int
elastic_take_reserve (struct elastic *e)
{
  int number = -1;

  pthread_mutex_lock (&e->lock);
  if (e->reserve > 0)
    number = e->chunk[--e->reserve];
  pthread_mutex_unlock (&e->lock);
  return number;
}

unsigned
elastic_reserve (struct elastic *e)
{
  unsigned n;

  pthread_mutex_lock (&e->lock);
  n = e->reserve;
  pthread_mutex_unlock (&e->lock);
  return n;
}

unsigned
elastic_waiting (struct elastic *e)
{
  unsigned n;

  pthread_mutex_lock (&e->lock);
  n = e->waiting;
  pthread_mutex_unlock (&e->lock);
  return n;
}

void
elastic_set_short (struct elastic *e, bool is_short)
{
  pthread_mutex_lock (&e->lock);
  if (e->is_short != is_short)
    pthread_cond_broadcast (&e->changed);
  e->is_short = is_short;
  pthread_mutex_unlock (&e->lock);
}

void
elastic_set_stopped (struct elastic *e, bool stopped)
{
  pthread_mutex_lock (&e->lock);
  e->stopped = stopped;
  pthread_cond_broadcast (&e->changed);
  pthread_mutex_unlock (&e->lock);
}
