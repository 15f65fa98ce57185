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
 * - A request pins its slot, and then reads the slot's place from its word.
 *   The first write into an empty slot takes a chunk from the reserve.
 * - One thread, the governor (governor.c), changes the place of slots.  It
 *   sets a flag in the slot's word, waits until the pins that the flag
 *   excludes have ended, and stores the new word.
 *
 * Pins are counted in a shard of each thread, so that threads share no cache
 * line.  A request adds 1 and then reads the word.  The governor sets the flag
 * and then reads the counts.  All of this is sequentially consistent, so that
 * one of them sees the other.  A request that holds a pin waits only for its
 * copy, or, if its slot is empty, for the reserve.  The governor never waits
 * for the pins of an empty slot.
 */

enum pin {
  PIN_READ,
  PIN_WRITE,
};

/* How many threads have a shard of their own.  More threads share them. */
#define PIN_SHARDS 32

struct pins {
  _Alignas(64) atomic_uint count[CHUNKS_MAX][2];
};

struct elastic {
  _Atomic uint64_t *table;          /* a word for each slot */
  struct superblock_shared *shared; /* facts, limit and wake */
  unsigned timeout_ms;              /* how long a write waits for a chunk */
  struct pins *pins;                /* PIN_SHARDS */

  /* Set before the first request.  Without a spill file no slot is in it. */
  const struct blockmap *map;
  struct spill *spill;
  uint64_t size; /* bytes of a slot */

  atomic_bool failed;   /* the GPU is lost: wait no more */
  atomic_bool refusing; /* it is logged that writes fail because VRAM is short
                         */
  atomic_bool trimmed;  /* blocks have been trimmed since this was cleared */
  atomic_bool cold[CHUNKS_MAX]; /* no request since the governor set it */

  pthread_mutex_t lock;   /* not held during calls of the provider */
  pthread_cond_t changed; /* a word, the reserve, or a field below */
  bool is_short;          /* the governor cannot get VRAM */
  bool stopped;           /* there is no governor */
  unsigned waiting;       /* writes that wait for a chunk */
  unsigned reserve;       /* chunks in it, zeroed and kept by the supervisor */
  uint8_t chunk[CHUNKS_MAX];

  /* Used if there is no superblock. */
  struct superblock_shared own_shared;
  _Atomic uint64_t own_table[CHUNKS_MAX];
};

/* Make SLOTS slots of SIZE bytes, as SUPERBLOCK has them, or empty if that is
 * NULL.  A write waits up to TIMEOUT_MS for a chunk.  Returns NULL after
 * log_error.
 */
extern struct elastic *
elastic_create (unsigned slots, uint64_t size,
                const struct superblock *superblock, unsigned timeout_ms);
extern void elastic_free (struct elastic *e);

/* Keep words and facts in SUPERBLOCK from now on, which must outlive E.  Call
 * it before the first request, while all slots are empty.
 */
extern void
elastic_move_to (struct elastic *e, const struct superblock *superblock);

/* Pin SLOT for a copy of KIND, and store its word, of which only the flags
 * change until the same thread calls elastic_unpin.  With PIN_WRITE an empty
 * slot gets a chunk first.  Returns 0, or -1 with errno = EIO if the GPU is
 * lost, or with ENOSPC and a message in the log if there is no chunk.
 */
extern int
elastic_pin (struct elastic *e, unsigned slot, enum pin kind, uint64_t *word);
extern void elastic_unpin (struct elastic *e, unsigned slot, enum pin kind);

/* Whether SLOT can be in the spill file. */
extern bool elastic_can_spill (const struct elastic *e, unsigned slot);

/* The GPU is lost: wake all waiting requests, and never wait again. */
extern void elastic_fail (struct elastic *e);

/* Note that blocks have been trimmed. */
extern void elastic_trim (struct elastic *e);

/* Wake the governor. */
extern void elastic_wake (struct elastic *e);

/*
 * For the governor.
 */

/* Set FLAG (SLOT_FROZEN or SLOT_LOCKED) in the word of SLOT, and wait until
 * the requests that it excludes have ended.  Returns false, with the flag
 * cleared, if the slot is not WORD any more or the GPU is lost.
 */
extern bool
elastic_stop (struct elastic *e, unsigned slot, uint64_t word, uint64_t flag);

/* Store WORD without flags, and let requests go on. */
extern void elastic_go_on (struct elastic *e, unsigned slot, uint64_t word);

/* Put the chunk NUMBER into the reserve, or take one out; -1: it is empty. */
extern void elastic_put_reserve (struct elastic *e, unsigned number);
extern int elastic_take_reserve (struct elastic *e);

extern unsigned elastic_reserve (struct elastic *e);
extern unsigned elastic_waiting (struct elastic *e);

/* Say whether VRAM is short at present.  Writes wait less long then. */
extern void elastic_set_short (struct elastic *e, bool is_short);

/* Say whether the governor does not run. */
extern void elastic_set_stopped (struct elastic *e, bool stopped);

#endif /* VRAM_ELASTIC_H */
