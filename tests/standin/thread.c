/* nbdkit-vram: how the stand-in drivers start threads
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <signal.h>

#include "thread.h"

int
thread_start (pthread_t *thread, void *(*fn) (void *), void *arg)
{
  pthread_attr_t attr;
  sigset_t all, old;
  int r;

  sigfillset (&all);
  pthread_attr_init (&attr);
  /* Small: whoever locks all its memory pays for it. */
  pthread_attr_setstacksize (&attr, 512 << 10);
  pthread_sigmask (SIG_SETMASK, &all, &old);
  r = pthread_create (thread, &attr, fn, arg);
  pthread_sigmask (SIG_SETMASK, &old, NULL);
  pthread_attr_destroy (&attr);
  return r;
}
