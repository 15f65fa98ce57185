/* nbdkit-vram: keeps a process in RAM and alive when memory is short
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memlock.h"
#include "common/units.h"

/* Linux 5.6; older headers lack it. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

#define OOM_SCORE_FILE "/proc/self/oom_score_adj"

/* Heap for nbdkit's threads, mainly a buffer each, which grows to the largest
 * request.  Swap writes up to 2 MiB at a time and reads clusters of pages.
 */
#define HEAP_RESERVE (8 * MiB)

/* Stack for a request, with a margin. */
#define STACK_RESERVE (64 * KiB)

/* What memlock_prepare has done. */
static bool prepared, flusher_set;

/* Log that WHAT was refused, with ADVICE.  If MODE is at least LIMIT, this is
 * an error and the return value is -1, otherwise a warning and 0.
 */
static int
refused (enum memlock mode, enum memlock limit, const char *what,
         const char *advice)
{
  if (mode >= limit) {
    log_error ("%s: %m; %s", what, advice);
    return -1;
  }
  log_warning ("%s: %m; %s", what, advice);
  return 0;
}

/* Returns 0, or -1 with errno.  Makes only async-signal-safe calls. */
static int
set_oom_score (const char *score)
{
  int fd = open (OOM_SCORE_FILE, O_WRONLY | O_CLOEXEC), saved;
  ssize_t n;

  if (fd == -1)
    return -1;
  n = write (fd, score, strlen (score));
  saved = errno;
  close (fd);
  errno = saved;
  return n == -1 ? -1 : 0;
}

static int
set_flusher (void)
{
  if (prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0) == -1)
    return -1;
  flusher_set = true;
  return 0;
}

void
memlock_undo (void)
{
  prctl (PR_SET_IO_FLUSHER, 0, 0, 0, 0);
  set_oom_score ("0");
}

/* Warn if the calling thread's nice value is above the highest one before. */
static void
check_nice (const char *advice)
{
  static atomic_int highest;
  int nice = getpriority (PRIO_PROCESS, 0), before = atomic_load (&highest);

  while (nice > before)
    if (atomic_compare_exchange_weak (&highest, &before, nice)) {
      log_warning ("this process runs with nice value %d, so that requests "
                   "may wait for other programs: %s",
                   nice, advice);
      return;
    }
}

/* One arena for all threads, so that they use the heap that memlock_all sets
 * aside.  This must be set before a second thread allocates, because glibc
 * reads it then.
 */
static void
share_heap (void)
{
  mallopt (M_ARENA_MAX, 1);
}

int
memlock_prepare (enum memlock mode)
{
  static const char capability[] =
      "run it as root, or give it CAP_SYS_RESOURCE";

  if (mode == MEMLOCK_NO)
    return 0;
  prepared = true;
  share_heap ();
  if (set_flusher () == -1 &&
      refused (mode, MEMLOCK_REQUIRED,
               "memory reclaim may wait for this process while the process "
               "waits for memory: PR_SET_IO_FLUSHER",
               capability) == -1)
    return -1;
  if (set_oom_score ("-1000") == -1 &&
      refused (mode, MEMLOCK_REQUIRED,
               "this process may be killed when memory is short: "
               "oom_score_adj -1000",
               capability) == -1)
    return -1;
  check_nice ("start it with nice value 0");
  return 0;
}

void
memlock_check_thread (void)
{
  static atomic_flag logged = ATOMIC_FLAG_INIT;

  if (!prepared)
    return;
  if (flusher_set && prctl (PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 0) {
    const char *outcome = prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0) == 0
                              ? "set again"
                              : "cannot be set again";

    if (!atomic_flag_test_and_set (&logged))
      log_warning ("PR_SET_IO_FLUSHER of a thread was cleared by a library, "
                   "and %s",
                   outcome);
  }
  check_nice ("another program, such as a process tuner, has raised it; "
              "exclude nbdkit there");
}

/* Have malloc get now what threads will need, and keep it: it makes no
 * separate mappings and gives nothing back.
 */
static void
reserve_heap (void)
{
  char *p;

  mallopt (M_MMAP_THRESHOLD, 32 * 1024 * 1024);
  mallopt (M_TRIM_THRESHOLD, 1024 * 1024 * 1024);
  p = malloc (HEAP_RESERVE);
  if (p)
    explicit_bzero (p, HEAP_RESERVE);
  free (p);
}

void
memlock_trim_heap (void)
{
  malloc_trim (HEAP_RESERVE);
}

static int
lock_memory (enum memlock mode, int flags)
{
  if (mlockall (MCL_CURRENT | MCL_FUTURE | flags) == 0)
    return 0;
  return refused (mode, MEMLOCK_YES,
                  "this process may be swapped out itself: mlockall",
                  "raise its limit (ulimit -l, LimitMEMLOCK=infinity) or give "
                  "it CAP_IPC_LOCK");
}

int
memlock_all (enum memlock mode)
{
  if (mode == MEMLOCK_NO)
    return 0;
  reserve_heap ();
  /* Locked when touched: locking all at once would bring in every page that
   * the driver's libraries map and never use, more than 100 MiB.
   */
  return lock_memory (mode, MCL_ONFAULT);
}

void
memlock_touch_stack (void)
{
  volatile char stack[STACK_RESERVE];

  for (size_t i = 0; i < sizeof stack; i += 4096)
    stack[i] = 0;
}

void
memlock_process (void)
{
  memlock_prepare (MEMLOCK_AUTO);
  memlock_touch_stack ();
  lock_memory (MEMLOCK_AUTO, 0);
}
