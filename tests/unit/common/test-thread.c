/* nbdkit-vram: tests of common/thread
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "common/thread.h"

/* The C library's prctl would truncate it to an int. */
static long
timer_slack (void)
{
  return syscall (SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
}

static void *
store_slack (void *arg)
{
  *(long *) arg = timer_slack ();
  return NULL;
}

/* The timer slack, in ns, of a thread that a library creates now. */
static long
slack_of_library_thread (void)
{
  pthread_t thread;
  long slack = -1;

  CHECK_EQ (pthread_create (&thread, NULL, store_slack, &slack), 0);
  pthread_join (thread, NULL);
  return slack;
}

static long
slack_of_own_thread (void)
{
  pthread_t thread;
  long slack = -1;

  CHECK_EQ (thread_start (&thread, store_slack, &slack), 0);
  pthread_join (thread, NULL);
  return slack;
}

static void
test_relaxed_timers_are_for_library_threads (void)
{
  const long usual = timer_slack ();

  CHECK_EQ (slack_of_library_thread (), usual);
  thread_relax_timers (true);
  CHECK (slack_of_library_thread () >= 5000000000);
  CHECK_EQ (slack_of_own_thread (), usual);
  CHECK (timer_slack () >= 5000000000);
  thread_relax_timers (false);
  CHECK_EQ (timer_slack (), usual);
  CHECK_EQ (slack_of_library_thread (), usual);
}

static void *
store_mask (void *arg)
{
  pthread_sigmask (SIG_SETMASK, NULL, arg);
  return NULL;
}

static void
test_signals_are_for_other_threads (void)
{
  pthread_t thread;
  sigset_t mask, before, after;

  pthread_sigmask (SIG_SETMASK, NULL, &before);
  CHECK_EQ (thread_start (&thread, store_mask, &mask), 0);
  pthread_join (thread, NULL);
  CHECK (sigismember (&mask, SIGTERM));
  CHECK (sigismember (&mask, SIGHUP));
  CHECK (!sigismember (&mask, SIGBUS));
  pthread_sigmask (SIG_SETMASK, NULL, &after);
  CHECK_EQ (sigismember (&after, SIGTERM), sigismember (&before, SIGTERM));
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_relaxed_timers_are_for_library_threads);
  RUN (test_signals_are_for_other_threads);
  return check_end ();
}
