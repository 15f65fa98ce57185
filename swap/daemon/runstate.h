/* nbdkit-vram: what outlives the daemon, in one file in /run
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_RUNSTATE_H
#define VRAM_SWAP_RUNSTATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "states.h"
#include "swaps.h"

/* The folder of the daemon's own files.  Only root can write to it. */
#define RUN_FOLDER "/run/vram-swap"

/* Times are milliseconds of CLOCK_BOOTTIME. */
struct runstate {
  enum state state;
  enum cause cause;
  char reason[256]; /* why it is off, or "" */

  int device;       /* N of the /dev/nbdN that we attached, -1 for none */
  pid_t attach_pid; /* the process that attached it */
  unsigned connections;
  unsigned timeout;
  int64_t size;           /* bytes */
  char disk[SWAP_ID + 1]; /* the swap's own UUID, "" when it is not known */
  int64_t since;          /* when swap went on */

  int64_t
      limit; /* of VRAM that the server may hold, bytes; LIMIT_CONFIGURED: as
                  * it is configured; INT64_MAX: none at all
                  */
  int64_t outages, outage_last_ms, outage_longest_ms, outage_at;
  char init_swap_max[32]; /* memory.swap.max of init.scope before, or "" */
};

#define LIMIT_CONFIGURED (-1)

/* Sets all fields to their values without a state file. */
void runstate_reset (struct runstate *st);

/* Reads the file.  Returns false when there is none. */
bool runstate_read (struct runstate *st);

/* Reads that of a version that had no daemon, as far as the device goes. */
bool runstate_read_old (struct runstate *st);

/* Returns 0, or -1 with a message. */
int runstate_write (const struct runstate *st);

/* The device that is attached by us, or -1: the one that is remembered, when
 * the kernel says that the same process attached it.
 */
int runstate_device (const struct runstate *st);

/* Without a file: takes an attached device with swap on it for ours if it is
 * as large as the disk that is kept, SIZE bytes (0: none is), or has our
 * label.  Returns whether there is one.
 */
bool runstate_find_device (struct runstate *st, int64_t size);

#endif
