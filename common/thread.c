/* nbdkit-vram: starts and joins the plugin's threads
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"
#include "common/thread.h"

#define STACK (256 * KiB)

/* In nanoseconds; 0 restores the default. */
#define RELAXED_SLACK UINT64_C (10000000000)

/* How often thread_join looks. */
#define JOIN_US 1000

static _Thread_local bool relaxed;

/* Never fails with these arguments. */
static void
set_slack (bool relax)
{
  prctl (PR_SET_TIMERSLACK, relax ? RELAXED_SLACK : 0, 0, 0, 0);
}

void
thread_relax_timers (bool relax)
{
  relaxed = relax;
  set_slack (relax);
}

int
thread_start (pthread_t *thread, void *(*run) (void *), void *arg)
{
  pthread_attr_t attr;
  sigset_t blocked, before;
  int err;

  pthread_attr_init (&attr);
  pthread_attr_setstacksize (&attr, STACK);
  sigfillset (&blocked);
  /* The kernel ends a process that blocks SIGBUS when a mapping fails. */
  sigdelset (&blocked, SIGBUS);
  pthread_sigmask (SIG_SETMASK, &blocked, &before);
  set_slack (false);
  err = pthread_create (thread, &attr, run, arg);
  set_slack (relaxed);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  pthread_attr_destroy (&attr);
  if (err == 0)
    return 0;
  log_error ("pthread_create: %s", strerror (err));
  return -1;
}

int
thread_join (pthread_t thread, const atomic_bool *ended, unsigned ms)
{
  const uint64_t until = clock_ms () + ms;

  while (!atomic_load (ended)) {
    if (clock_ms () >= until)
      return -1;
    clock_sleep_us (JOIN_US);
  }
  pthread_join (thread, NULL);
  return 0;
}
