/* nbdkit-vram: ends a server whose threads do not come back from the driver
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "handover/handover.h"
#include "common/clock.h"
#include "gpu/cuda/context.h"
#include "ender.h"
#include "common/thread.h"

static struct {
  bool running;
  pthread_t thread;
  struct vram *vram;
  const struct superblock
      *superblock; /* NULL: the disk was not left to anyone */
  uint64_t slice_ns;

  sem_t told; /* to end */
  pthread_mutex_t lock;
  pthread_cond_t stopped;
  bool stop;
} ender;

/* What has nbdkit end, and what nbdkit does then.  Its own call for this,
 * nbdkit_nanosleep, logs an error at each end.
 */
static const int signals[] = { SIGTERM, SIGINT, SIGQUIT };
#define SIGNALS (sizeof signals / sizeof signals[0])
static struct sigaction nbdkits[SIGNALS];

static void
told_to_end (int signal_number)
{
  int saved = errno;

  for (size_t i = 0; i < SIGNALS; ++i)
    if (signals[i] == signal_number)
      nbdkits[i].sa_handler (signal_number);
  sem_post (&ender.told);
  errno = saved;
}

/* Signals that nbdkit ignores, or that end it at once, are left alone. */
static void
watch_signals (void)
{
  struct sigaction own;

  for (size_t i = 0; i < SIGNALS; ++i) {
    sigaction (signals[i], NULL, &nbdkits[i]);
    own = nbdkits[i];
    if (own.sa_flags & SA_SIGINFO || own.sa_handler == SIG_DFL ||
        own.sa_handler == SIG_IGN)
      continue;
    own.sa_handler = told_to_end;
    sigaction (signals[i], &own, NULL);
  }
}

/* Sleep for a slice; returns whether to stop. */
static bool
sleep_slice (void)
{
  const struct timespec until = clock_after_ns (ender.slice_ns);
  int r = 0;
  bool stop;

  pthread_mutex_lock (&ender.lock);
  while (!ender.stop && r != ETIMEDOUT)
    r = pthread_cond_timedwait (&ender.stopped, &ender.lock, &until);
  stop = ender.stop;
  pthread_mutex_unlock (&ender.lock);
  return stop;
}

static void *
watch_the_end (void *arg)
{
  unsigned still = 0, seen;

  (void) arg;
  while (sem_wait (&ender.told) == -1)
    ;
  seen = vram_dma_completed (ender.vram);
  while (!sleep_slice ()) {
    still = vram_dma_stalled (ender.vram, &seen) ? still + 1 : 0;
    if (still < CUDA_SLICES)
      continue;
    log_error ("a call into the NVIDIA driver does not return: ending all "
               "the same, and VRAM is not overwritten");
    if (ender.superblock && handover_may_end (ender.superblock))
      handover_revoke (ender.superblock);
    _exit (EXIT_FAILURE);
  }
  return NULL;
}

int
ender_start (struct vram *vram, unsigned limit_ms,
             const struct superblock *superblock, bool left)
{
  ender.vram = vram;
  ender.superblock = left ? superblock : NULL;
  ender.slice_ns = cuda_slice_ns (limit_ms);
  sem_init (&ender.told, 0, 0);
  pthread_mutex_init (&ender.lock, NULL);
  clock_cond_init (&ender.stopped);
  if (thread_start (&ender.thread, watch_the_end, NULL) == -1)
    return -1;
  ender.running = true;
  watch_signals ();
  return 0;
}

void
ender_stop (void)
{
  if (!ender.running)
    return;
  for (size_t i = 0; i < SIGNALS; ++i)
    sigaction (signals[i], &nbdkits[i], NULL);
  pthread_mutex_lock (&ender.lock);
  ender.stop = true;
  pthread_cond_signal (&ender.stopped);
  pthread_mutex_unlock (&ender.lock);
  sem_post (&ender.told);
  pthread_join (ender.thread, NULL);
  ender.running = false;
}
