/* nbdkit-vram: looks after the context while requests do without it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "common/log.h"
#include "common/clock.h"
#include "common/thread.h"
#include "watch.h"

static void
look (struct watch *watch)
{
  CUresult r;

  if (cuda_enter (watch->cuda) == -1)
    return;
  r = libcuda.stream_query (watch->stream);
  if (r != CUDA_SUCCESS && r != CUDA_ERROR_NOT_READY)
    cuda_failed (watch->cuda, r, "look after the context", watch->stream);
}

/* Until the window is used.  The lock is held. */
static void
sleep_until_used (struct watch *watch)
{
  atomic_store (&watch->asleep, true);
  while (!watch->end && !atomic_load (&watch->used))
    pthread_cond_wait (&watch->wake, &watch->lock);
  atomic_store (&watch->asleep, false);
}

/* For WATCH_MS, or to the end.  The lock is held. */
static void
pause_for_a_while (struct watch *watch)
{
  const struct timespec deadline =
      clock_after_ns (WATCH_MS * UINT64_C (1000000));

  while (!watch->end && pthread_cond_timedwait (&watch->wake, &watch->lock,
                                                &deadline) != ETIMEDOUT)
    ;
}

static void *
run (void *arg)
{
  struct watch *watch = arg;

  pthread_mutex_lock (&watch->lock);
  while (!watch->end && !cuda_is_lost (watch->cuda)) {
    if (!atomic_exchange (&watch->used, false)) {
      sleep_until_used (watch);
      continue;
    }
    pthread_mutex_unlock (&watch->lock);
    look (watch);
    pthread_mutex_lock (&watch->lock);
    pause_for_a_while (watch);
  }
  pthread_mutex_unlock (&watch->lock);
  return NULL;
}

void
watch_wake (struct watch *watch)
{
  pthread_mutex_lock (&watch->lock);
  pthread_cond_signal (&watch->wake);
  pthread_mutex_unlock (&watch->lock);
}

int
watch_start (struct watch *watch, struct cuda *cuda)
{
  CUresult error;

  error = libcuda.stream_create (&watch->stream, CU_STREAM_NON_BLOCKING);
  if (error != CUDA_SUCCESS) {
    log_error ("cannot create a stream: " CUDA_WORDS, CUDA_WORDS_ARGS (error));
    return -1;
  }
  watch->cuda = cuda;
  watch->end = false;
  atomic_init (&watch->used, false);
  atomic_init (&watch->asleep, false);
  pthread_mutex_init (&watch->lock, NULL);
  clock_cond_init (&watch->wake);
  if (thread_start (&watch->thread, run, watch) == -1) {
    libcuda.stream_destroy (watch->stream);
    return -1;
  }
  watch->running = true;
  return 0;
}

void
watch_stop (struct watch *watch)
{
  struct timespec deadline;

  if (!watch->running)
    return;
  pthread_mutex_lock (&watch->lock);
  watch->end = true;
  pthread_cond_signal (&watch->wake);
  pthread_mutex_unlock (&watch->lock);
  /* This wait knows the clock of the day only. */
  clock_gettime (CLOCK_REALTIME, &deadline);
  deadline.tv_sec += watch->cuda->timeout_ms / 1000 + 1;
  if (pthread_timedjoin_np (watch->thread, NULL, &deadline) != 0) {
    cuda_set_lost (watch->cuda, "the driver has not answered for %u ms",
                   watch->cuda->timeout_ms);
    return;
  }
  watch->running = false;
  if (!cuda_is_lost (watch->cuda))
    libcuda.stream_destroy (watch->stream);
  pthread_cond_destroy (&watch->wake);
  pthread_mutex_destroy (&watch->lock);
}
