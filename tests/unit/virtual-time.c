/* nbdkit-vram: time that passes as a test wants it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "virtual-time.h"

#define SECOND UINT64_C (1000000000)

static _Atomic uint64_t now_ns; /* 0: the real time */

static uint64_t
ns_of (const struct timespec *ts)
{
  return (uint64_t) ts->tv_sec * SECOND + (uint64_t) ts->tv_nsec;
}

int
clock_gettime (clockid_t clock, struct timespec *ts)
{
  const uint64_t now = atomic_load (&now_ns);

  if (now == 0 || clock != CLOCK_MONOTONIC)
    return (int) syscall (SYS_clock_gettime, clock, ts);
  ts->tv_sec = (time_t) (now / SECOND);
  ts->tv_nsec = (long) (now % SECOND);
  return 0;
}

/* The replaced functions are not called in virtual time, but in real time. */
int
clock_nanosleep (clockid_t clock, int flags, const struct timespec *request,
                 struct timespec *left)
{
  if (atomic_load (&now_ns) == 0)
    return syscall (SYS_clock_nanosleep, clock, flags, request, left) == -1
               ? errno
               : 0;
  atomic_fetch_add (&now_ns, ns_of (request));
  return 0;
}

int
pthread_cond_clockwait (pthread_cond_t *cond, pthread_mutex_t *mutex,
                        clockid_t clock, const struct timespec *until)
{
  static int (*next) (pthread_cond_t *, pthread_mutex_t *, clockid_t,
                      const struct timespec *);

  if (atomic_load (&now_ns) == 0) {
    if (next == NULL)
      next =
          (int (*) (pthread_cond_t *, pthread_mutex_t *, clockid_t,
                    const struct timespec *)) dlsym (RTLD_NEXT,
                                                     "pthread_cond_clockwait");
    return next (cond, mutex, clock, until);
  }
  if (ns_of (until) > atomic_load (&now_ns))
    atomic_store (&now_ns, ns_of (until));
  return ETIMEDOUT;
}

void
virtual_time_begin (void)
{
  struct timespec ts;

  atomic_store (&now_ns, 0);
  clock_gettime (CLOCK_MONOTONIC, &ts);
  atomic_store (&now_ns, ns_of (&ts));
}

void
virtual_time_end (void)
{
  atomic_store (&now_ns, 0);
}

void
virtual_time_pass (uint64_t ms)
{
  atomic_fetch_add (&now_ns, ms * (SECOND / 1000));
}
