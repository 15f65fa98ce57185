/* nbdkit-vram: starts and joins the plugin's threads
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "common/log.h"
#include "common/units.h"
#include "common/thread.h"

#define STACK (256 * KiB)

/* In nanoseconds; 0 restores the default. */
#define RELAXED_SLACK UINT64_C (10000000000)

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
  /* Steps are counted, so that a stopped process does not give up. */
  while (!atomic_load (ended)) {
    if (ms-- == 0)
      return -1;
    poll (NULL, 0, 1);
  }
  pthread_join (thread, NULL);
  return 0;
}
