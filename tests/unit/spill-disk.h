/* nbdkit-vram: the disk of a spill file, with faults that a test wants
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SPILL_DISK_H
#define VRAM_SPILL_DISK_H

#include <stdatomic.h>
#include <stdbool.h>

/* What this program asks of io_submit(2) and io_getevents(2) goes through
 * here.  Add spill-disk.c to the test's sources.
 */
struct spill_disk {
  atomic_bool hangs;     /* requests wait for spill_disk_goes_on */
  atomic_uint waiting;   /* how many do */
  atomic_uint submitted; /* requests so far */

  /* The next request is refused with this errno; 0: it is not. */
  atomic_int refuse;
  /* The next request copies nothing. */
  atomic_bool copies_nothing;
  /* Each request copies this many bytes at most; 0: any number. */
  atomic_ulong most;
  /* So many waits for an answer are interrupted by a signal. */
  atomic_uint interrupts;
  /* As soon as so many requests wait, waits for an answer end without one; 0:
   * they wait as long as they may.
   */
  atomic_uint late_if;
  /* How long the last wait may take, in ms. */
  atomic_ulong limit_ms;
  /* If not NULL, called before each request. */
  void (*asked) (void);
};
extern struct spill_disk spill_disk;

/* The disk does now what it was asked meanwhile. */
extern void spill_disk_goes_on (void);

#endif /* VRAM_SPILL_DISK_H */
