/* nbdkit-vram: tests of disk/transfer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
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

/* Each byte of a large file has its own place. */
static void
test_large_file (void)
{
  const int fd = memfd_create ("large", MFD_CLOEXEC);
  const uint64_t until = clock_ms () + 3600 * 1000;
  unsigned char seen[2];
  struct transfer t;

  CHECK (fd != -1);
  CHECK_EQ (transfer_open (&t, 4 * KiB), 0);
  memset (t.buffer, 7, t.size);
  CHECK_EQ (transfer_write (&t, fd, 0, 4 * KiB, 4 * KiB, until), 4 * KiB);
  memset (t.buffer, 8, t.size);
  CHECK_EQ (transfer_write (&t, fd, 0, 4 * KiB, 4 * GiB + 4 * KiB, until),
            4 * KiB);
  CHECK_EQ (pread (fd, &seen[0], 1, 4 * KiB), 1);
  CHECK_EQ (pread (fd, &seen[1], 1, 4 * GiB + 4 * KiB), 1);
  CHECK (seen[0] == 7 && seen[1] == 8);
  CHECK_EQ (transfer_read (&t, fd, 1, 1, 4 * KiB, until), 1);
  CHECK (t.buffer[0] == 8 && t.buffer[1] == 7);
  /* Nothing comes after the end. */
  CHECK_EQ (transfer_read (&t, fd, 0, 1, 4 * GiB + 8 * KiB, until), 0);
  transfer_close (&t);
  close (fd);
}

/* A transfer that is not late leaves nothing behind. */
static void
test_close (void)
{
  unsigned char there[1];
  struct transfer t, was;

  CHECK_EQ (transfer_open (&t, 4 * KiB), 0);
  CHECK (!transfer_is_late (&t));
  was = t;
  transfer_close (&t);
  CHECK (t.context == 0 && t.buffer == NULL);
  CHECK_EQ (mincore (was.buffer, was.size, there), -1);
  CHECK_EQ (errno, ENOMEM);
  CHECK_EQ (syscall (SYS_io_destroy, was.context), -1);
  CHECK_EQ (errno, EINVAL);
  transfer_close (&t);
}

int
main (int argc, char **argv)
{
  check_begin (argc, argv);
  RUN (test_buffer_needs_no_memory_later);
  RUN (test_large_file);
  RUN (test_close);
  return check_end ();
}
