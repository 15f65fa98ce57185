/* nbdkit-vram: runs a program for a bounded time
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_RUN_H
#define VRAM_SWAP_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/clock.h"

struct run {
  /* In: seconds after which the program gets SIGTERM, and 2 s later SIGKILL.
   * None of what is run here serves or frees swap.
   */
  unsigned limit;

  /* In: when root runs it, it becomes the server's user first ("vram-swap", or
   * "nobody" where that does not exist), and can never be more.
   */
  bool as_server;

  /* In: a signal to us does not end it. */
  bool undisturbed;

  /* Out: how it went.  One of these three holds. */
  int status;       /* exit status, 128 + signal when it was killed by one */
  bool timed_out;   /* status is then 124 */
  bool interrupted; /* we were told to stop; status is then 130 */

  /* Out: what it wrote to stdout and stderr, the end cut off, newline
   * stripped.
   */
  char output[8192];
};

/* Runs ARGV[0], looked up in PATH and in the sbin folders, with no stdin, in
 * the C locale.  When STARTED is given it is called in the parent with the
 * program's pid before the program's first instruction.  Returns 0 when the
 * program exited with status 0, otherwise -1; a program that could not be
 * started has status 127.
 */
int run (struct run *r, const char *const *argv,
         int (*started) (pid_t pid, void *opaque), void *opaque);

/* Where PROGRAM would be run from, or NULL. */
const char *run_find (const char *program, char *buf, size_t size);

/* The line of OUTPUT that calls itself an error, or all its lines in one, or
 * what can be said without any.  In a buffer that the next call reuses.
 */
const char *run_reason (const struct run *r);

/* Sleeps, or returns false early because a signal came. */
bool pause_ms (unsigned ms);

/* For time limits, which include the time while the machine sleeps. */
static inline long long
now_ms (void)
{
  return clock_boottime_ms ();
}

#endif
