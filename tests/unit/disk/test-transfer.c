/* nbdkit-vram: tests of disk/transfer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "common/units.h"
#include "disk/transfer.h"

#define PAGES 16

/* The kernel may wait for a transfer while there is no free memory, so its
 * buffer must be in memory before, also in a process whose memory is locked as
 * memlock_all does.
 */
static void
test_buffer_needs_no_memory_later (void)
{
  unsigned char there[PAGES];
  struct transfer t;

  if (mlockall (MCL_FUTURE | MCL_ONFAULT) == -1) {
    fprintf (stderr,
             "skipped test_buffer_needs_no_memory_later: mlockall: %s\n",
             strerror (errno));
    return;
  }
  CHECK_EQ (transfer_open (&t, PAGES * 4 * KiB), 0);
  CHECK_EQ (mincore (t.buffer, t.size, there), 0);
  for (unsigned i = 0; i < PAGES; ++i)
    CHECK_EQ (there[i] & 1, 1);
  transfer_close (&t);
  munlockall ();
}

int
main (int argc, char **argv)
{
  check_begin (argc, argv);
  RUN (test_buffer_needs_no_memory_later);
  return check_end ();
}
