/* nbdkit-vram: slots whose VRAM comes and goes while requests are served
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_ELASTIC_H
#define VRAM_ELASTIC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/blockmap.h"
#include "disk/spill.h"
#include "disk/superblock.h"

/* The two sides of an elastic disk:
 *
 * - A request pins the slot that it works on, and then finds the slot's place
 *   in its word.  The first write into an empty slot takes a chunk from the
 *   reserve.
 * - One thread, the governor (governor.c), gives slots another place.  It sets
 *   a flag in the slot's word, waits until the pins that the flag stands
 *   against have ended, and stores the new word.
 *
 * A pin is a count of the thread's own shard, so that threads on different
 * CPUs write to no cache line that they share.  Pinning adds 1 and then looks
 * at the word; the governor sets the flag and then looks at the counts, all of
 * it sequentially consistent: one of them sees the other.  A request that
 * holds a pin waits for nothing but its copy, and, while its slot is empty,
 * for the reserve; the governor never waits for the pins of an empty slot.
 */

enum pin {
  PIN_READ,
  PIN_WRITE,
};

/* How many threads have pins of their own; further ones share them. */
#define PIN_SHARDS 32

struct pins {
  _Alignas(64) atomic_uint count[CHUNKS_MAX][2];
};

struct elastic {
  _Atomic uint64_t *table;          /* a word for each slot */
  struct superblock_shared *shared; /* facts, limit and wake */
  unsigned slots;
  unsigned timeout_ms; /* how long a write waits for a chunk */
  struct pins *pins;   /* PIN_SHARDS */

  /* Set before the first request.  Without a spill file no slot is in it. */
  const struct blockmap *map;
  struct spill *spill;
  uint64_t size; /* bytes of a slot */

  atomic_bool failed;   /* the GPU is lost: wait no more */
  atomic_bool refusing; /* the log knows that writes fail for want of VRAM */
  atomic_bool trimmed;  /* blocks have lost their data since it was cleared */
  atomic_bool cold[CHUNKS_MAX]; /* no request since the governor set it */

  pthread_mutex_t lock;   /* never held across a call of the provider */
  pthread_cond_t changed; /* a word, the reserve or what follows */
  bool is_short;          /* the governor cannot get VRAM */
  bool stopped;           /* there is no governor */
  unsigned waiting;       /* writes that wait for a chunk */
  unsigned reserve;       /* chunks in it, zeroed and kept by the supervisor */
  uint8_t chunk[CHUNKS_MAX];

  /* Used where there is no superblock. */
  struct superblock_shared own_shared;
  _Atomic uint64_t own_table[CHUNKS_MAX];
};

/* Make SLOTS empty slots of SIZE bytes, or those of SUPERBLOCK, which may be
 * NULL.  A write waits for a chunk for up to TIMEOUT_MS.  Returns NULL after
 * log_error.
 */
extern struct elastic *
elastic_create (unsigned slots, uint64_t size,
                const struct superblock *superblock, unsigned timeout_ms);
extern void elastic_free (struct elastic *e);

/* From now on the words and facts are in SUPERBLOCK, as they are now.  Before
 * the first request.
 */
extern void
elastic_move_to (struct elastic *e, const struct superblock *superblock);

/* Pin SLOT, for a copy of that kind, and store its word, which stays as it is,
 * other than for its flags, until elastic_unpin by the same thread.  A write
 * finds no slot empty.  Returns 0, or -1 with errno = EIO when the GPU is
 * lost, or ENOSPC after the log has been told when no chunk has come.
 */
extern int
elastic_pin (struct elastic *e, unsigned slot, enum pin kind, uint64_t *word);
extern void elastic_unpin (struct elastic *e, unsigned slot, enum pin kind);

/* Whether SLOT can be in the spill file. */
extern bool elastic_can_spill (const struct elastic *e, unsigned slot);

/* The GPU is lost: nothing waits any more. */
extern void elastic_fail (struct elastic *e);

/* Blocks have lost their data. */
extern void elastic_trim (struct elastic *e);

/* Have the governor look. */
extern void elastic_wake (struct elastic *e);

/*
 * For the governor.
 */

/* Set FLAG, SLOT_FROZEN or SLOT_LOCKED, in the word of SLOT and wait until no
 * request is at it that the flag stands against.  Returns false, with the word
 * as it was, when the slot has changed meanwhile or the GPU is lost.
 */
extern bool
elastic_stop (struct elastic *e, unsigned slot, uint64_t word, uint64_t flag);

/* Store WORD without its flags, and let the requests go on. */
extern void elastic_go_on (struct elastic *e, unsigned slot, uint64_t word);

/* Put the chunk NUMBER into the reserve, or take one out of it, -1: none. */
extern void elastic_put_reserve (struct elastic *e, unsigned number);
extern int elastic_take_reserve (struct elastic *e);

extern unsigned elastic_reserve (struct elastic *e);
extern unsigned elastic_waiting (struct elastic *e);

/* Whether VRAM cannot be got at present: writes wait for less long then. */
extern void elastic_set_short (struct elastic *e, bool is_short);

/* The governor has begun or ended. */
extern void elastic_set_stopped (struct elastic *e, bool stopped);

#endif /* VRAM_ELASTIC_H */
