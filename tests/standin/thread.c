/* nbdkit-vram: how the stand-in drivers start threads
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"

int
thread_start (pthread_t *thread, void *(*fn) (void *), void *arg)
{
  pthread_attr_t attr;
  sigset_t all, old;
  long slack;
  int r;

  sigfillset (&all);
  pthread_attr_init (&attr);
  /* A small stack, because a process that locks all its memory locks it, too.
   */
  pthread_attr_setstacksize (&attr, 512 << 10);
  /* The thread stands for the GPU, which the caller's timer slack does not
   * slow down.
   */
  slack = syscall (SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
  prctl (PR_SET_TIMERSLACK, 0, 0, 0, 0);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  r = pthread_create (thread, &attr, fn, arg);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  prctl (PR_SET_TIMERSLACK, slack, 0, 0, 0);
  pthread_attr_destroy (&attr);
  return r;
}
