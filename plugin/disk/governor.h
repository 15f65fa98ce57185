/* nbdkit-vram: takes VRAM for an elastic disk and gives it back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_GOVERNOR_H
#define VRAM_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/blockmap.h"
#include "disk/slots.h"

/* The governor keeps the reserve full, so that no request calls the driver to
 * allocate; gives the chunks of slots back whose last block was trimmed some
 * seconds ago; and gives VRAM back at once when less than the headroom is
 * free, or when more than the limit is held: first the reserve, then empty
 * slots, then those with little data, then those that no request has met
 * lately.  What these hold moves to the spill file, if there is one, and back
 * when more VRAM has been free for a while.
 *
 * It looks at free VRAM ten times a second at rest, and every millisecond for
 * ten seconds after it has changed; without a headroom it sleeps until a
 * request or elastic_wake wakes it.  It never waits for memory that only
 * swapping out would free: it is marked and locked as the threads of requests
 * are, and an allocation that fails is tried again later.
 */
struct governor;

/* What keeps the chunks for the next server, in the order of these calls.  A
 * chunk is put, and checked to be kept, before it can hold data.  Those that
 * return int return 0, or -1 after log_error.
 */
struct governor_store {
  int (*put) (struct provider *p, const struct chunk *chunk, unsigned number);
  int (*check) (void);
  void (*remove) (unsigned number);
};

struct governor_options {
  uint64_t headroom; /* bytes to leave free */
  uint64_t limit;    /* bytes to hold at most, UINT64_MAX: no limit */
  bool scrub;        /* overwrite VRAM before it is given back */
  bool restless;     /* for tests: see the debug flag */
  const struct governor_store *store; /* NULL: the disk ends with the server */
};

/* Make the governor of SLOTS, in which MAP says what holds data.  It does
 * nothing yet.  Returns NULL after log_error.
 */
extern struct governor *
governor_create (struct slots *slots, const struct blockmap *map,
                 const struct governor_options *options);

/* Look once and do what is to be done.  Returns after how many ms to look
 * again at the latest, or GOVERNOR_SLEEP.  For the start and for tests.
 */
extern unsigned governor_step (struct governor *g);
#define GOVERNOR_SLEEP UINT32_MAX

/* Do that on a thread, from now on.  Returns 0, or -1 after log_error. */
extern int governor_start (struct governor *g);

/* End the thread.  NULL is allowed, and so is a second time.  Returns -1 when
 * the GPU is lost and the thread hangs in the driver: it is left there, and so
 * must be its slots.
 */
extern int governor_stop (struct governor *g);

/* The same, and free the governor if that was possible. */
extern int governor_free (struct governor *g);

#endif /* VRAM_GOVERNOR_H */
