/* nbdkit-vram: keeps the server in RAM and alive when memory is short
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memlock.h"
#include "common/units.h"

/* Linux 5.6; older headers lack it. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* What nbdkit's threads allocate while they serve, chiefly a buffer each that
 * grows to the largest request: swap writes up to 2 MiB at a time and reads a
 * cluster of some pages.
 */
#define HEAP_RESERVE (8 * MiB)

/* What a request uses of its thread's stack, generously. */
#define STACK_RESERVE (64 * KiB)

/* Report that WHAT was refused, and ADVICE; -1 when MODE has that an error,
 * which is when it is at least LIMIT.
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

static int
set_oom_score (void)
{
  static const char score[] = "-1000";
  ssize_t n;
  int fd, saved;

  fd = open ("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd == -1)
    return -1;
  n = write (fd, score, strlen (score));
  saved = errno;
  close (fd);
  errno = saved;
  return n == -1 ? -1 : 0;
}

/* One arena for all threads, so that what is set aside for them in memlock_all
 * is where they look.  Later is too late: glibc reads this when the first thread
 * but the main one allocates, and spreads others over the arenas it has by then.
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
      "give the server CAP_SYS_RESOURCE, or run it as root";

  if (mode == MEMLOCK_NO)
    return 0;
  share_heap ();
  if (prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0) == -1 &&
      refused (mode, MEMLOCK_REQUIRED,
               "memory reclaim may wait for this server while the server "
               "waits for it: PR_SET_IO_FLUSHER",
               capability) == -1)
    return -1;
  if (set_oom_score () == -1 &&
      refused (mode, MEMLOCK_REQUIRED,
               "this server may be killed when memory is short: "
               "oom_score_adj -1000",
               capability) == -1)
    return -1;
  return 0;
}

/* Have malloc take what threads will ask for now, and keep it: no separate
 * mappings, nothing given back.
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

int
memlock_all (enum memlock mode)
{
  if (mode == MEMLOCK_NO)
    return 0;
  reserve_heap ();
  /* Locked when touched: locking all at once would bring in every page that
   * the driver's libraries map and never use, more than 100 MiB.
   */
  if (mlockall (MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == -1)
    return refused (mode, MEMLOCK_YES,
                    "this server may be swapped out itself: mlockall",
                    "raise its limit (ulimit -l, LimitMEMLOCK=infinity) or "
                    "give it CAP_IPC_LOCK");
  return 0;
}

void
memlock_touch_stack (void)
{
  volatile char stack[STACK_RESERVE];

  for (size_t i = 0; i < sizeof stack; i += 4096)
    stack[i] = 0;
}
