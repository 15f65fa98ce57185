/* nbdkit-vram: takes VRAM for an elastic disk and gives it back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_GOVERNOR_H
#define VRAM_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/blockmap.h"
#include "disk/slots.h"

/* The governor keeps the reserve full, so that no request allocates.  It gives
 * back the chunks of slots that have been empty for a few seconds.  If less
 * VRAM than the headroom is free, or more than the limit is held, it gives
 * back chunks at once: the reserve, then empty slots, then slots with little
 * data, then cold slots, then the others.  Their data moves to the spill file,
 * if there is one, and back when enough VRAM has been free for a while.
 *
 * It looks at free VRAM ten times a second, and every millisecond for ten
 * seconds after a change.  Without a headroom it sleeps until elastic_wake.
 * It never waits for memory that only swapping out would free: it is locked in
 * RAM and an I/O flusher like the threads of requests, and tries a failed
 * allocation again later.
 */
struct governor;

/* Where chunks are kept for the next server.  Before a chunk can hold data, it
 * is put there, and check waits until it is kept.  Functions that return int
 * return 0, or -1 after log_error.
 */
struct governor_store {
  int (*put) (struct provider *p, const struct chunk *chunk, unsigned number);
  int (*check) (void);
  void (*remove) (unsigned number);
};

struct governor_options {
  uint64_t headroom; /* bytes to leave free */
  uint64_t limit;    /* bytes to hold at most, UINT64_MAX: no limit */
  bool scrub;        /* overwrite VRAM before it is freed */
  bool restless;     /* debug flag restless */
  const struct governor_store *store; /* NULL: the disk ends with the server */
};

/* Make the governor of SLOTS, whose block map is MAP.  It does nothing until
 * governor_step or governor_start.  Returns NULL after log_error.
 */
extern struct governor *
governor_create (struct slots *slots, const struct blockmap *map,
                 const struct governor_options *options);

/* Look once, and take or give back VRAM as needed.  Returns after how many ms
 * to look again, or GOVERNOR_SLEEP.  For the start and for tests.
 */
extern unsigned governor_step (struct governor *g);
#define GOVERNOR_SLEEP UINT32_MAX

/* Start a thread that does this.  Returns 0, or -1 after log_error. */
extern int governor_start (struct governor *g);

/* End the thread.  G may be NULL or stopped already.  Returns 0, or -1 if the
 * GPU is lost and the thread hangs in the driver.  Then its slots must not be
 * freed.
 */
extern int governor_stop (struct governor *g);

/* The same, and free the governor unless it returns -1. */
extern int governor_free (struct governor *g);

#endif /* VRAM_GOVERNOR_H */
