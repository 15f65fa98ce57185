/* nbdkit-vram: the disk of a spill file, with faults that a test wants
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "spill-disk.h"

struct spill_disk spill_disk;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct waiting {
  aio_context_t context;
  struct iocb request;
} waiting[16];

static long (*next) (long number, ...);

/* Whether the disk hangs: then the request waits. */
static bool
wait_for_disk (aio_context_t context, const struct iocb *request)
{
  bool hangs;
  unsigned n;

  pthread_mutex_lock (&lock);
  hangs = atomic_load (&spill_disk.hangs);
  if (hangs) {
    n = atomic_load (&spill_disk.waiting);
    CHECK (n < sizeof waiting / sizeof waiting[0]);
    waiting[n] = (struct waiting){ context, *request };
    atomic_store (&spill_disk.waiting, n + 1);
  }
  pthread_mutex_unlock (&lock);
  return hangs;
}

static long
submit (aio_context_t context, struct iocb *request)
{
  const unsigned long most = atomic_load (&spill_disk.most);
  const int error = atomic_exchange (&spill_disk.refuse, 0);

  if (spill_disk.asked)
    spill_disk.asked ();
  atomic_fetch_add (&spill_disk.submitted, 1);
  if (error != 0) {
    errno = error;
    return -1;
  }
  if (wait_for_disk (context, request))
    return 1;
  if (most > 0 && request->aio_nbytes > most)
    request->aio_nbytes = most;
  if (atomic_exchange (&spill_disk.copies_nothing, false))
    request->aio_nbytes = 0;
  return next (SYS_io_submit, context, 1L, &request, 0L, 0L, 0L);
}

/* Whether a wait for an answer ends now without one.  First waits for other
 * requests.
 */
static bool
is_late (const struct timespec *limit)
{
  const unsigned n = atomic_load (&spill_disk.late_if);

  if (n == 0 || (limit->tv_sec == 0 && limit->tv_nsec == 0))
    return false;
  while (atomic_load (&spill_disk.waiting) < n)
    sched_yield ();
  return true;
}

long
syscall (long number, ...)
{
  const struct timespec *limit;
  long a[6];
  va_list args;

  if (next == NULL)
    next = (long (*) (long, ...)) dlsym (RTLD_NEXT, "syscall");
  va_start (args, number);
  for (unsigned i = 0; i < 6; ++i)
    a[i] = va_arg (args, long);
  va_end (args);
  switch (number) {
  case SYS_io_submit:
    return submit ((aio_context_t) a[0], *(struct iocb **) a[2]);
  case SYS_io_getevents:
    limit = (const struct timespec *) a[4];
    atomic_store (
        &spill_disk.limit_ms,
        (unsigned long) (limit->tv_sec * 1000 + limit->tv_nsec / 1000000));
    if (is_late (limit))
      return 0;
    if (atomic_load (&spill_disk.interrupts) == 0)
      break;
    atomic_fetch_sub (&spill_disk.interrupts, 1);
    errno = EINTR;
    return -1;
  case SYS_io_destroy:
    /* It would wait for the disk. */
    for (unsigned i = 0; i < atomic_load (&spill_disk.waiting); ++i)
      CHECK (waiting[i].context != (aio_context_t) a[0]);
  }
  return next (number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Takes out a request that waits.  Returns whether there was one. */
static bool
take (struct waiting *w)
{
  unsigned n;

  pthread_mutex_lock (&lock);
  atomic_store (&spill_disk.hangs, false);
  n = atomic_load (&spill_disk.waiting);
  if (n > 0) {
    *w = waiting[n - 1];
    atomic_store (&spill_disk.waiting, n - 1);
  }
  pthread_mutex_unlock (&lock);
  return n > 0;
}

void
spill_disk_goes_on (void)
{
  struct waiting w;

  while (take (&w))
    /* EBADF: the file was closed meanwhile. */
    CHECK (submit (w.context, &w.request) == 1 || errno == EBADF);
}
