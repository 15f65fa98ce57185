/* nbdkit-vram: threads of the plugin's own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "common/log.h"
#include "common/units.h"
#include "common/thread.h"

#define STACK (256 * KiB)

int
thread_start (pthread_t *thread, void *(*run) (void *), void *arg)
{
  pthread_attr_t attr;
  sigset_t all, before;
  int err;

  pthread_attr_init (&attr);
  pthread_attr_setstacksize (&attr, STACK);
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  err = pthread_create (thread, &attr, run, arg);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  pthread_attr_destroy (&attr);
  if (err == 0)
    return 0;
  log_error ("pthread_create: %s", strerror (err));
  return -1;
}
