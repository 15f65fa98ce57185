/* nbdkit-vram: looks after the context while requests do without it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_WATCH_H
#define VRAM_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "gpu/cuda/context.h"

/* A copy by the window calls no driver, so it learns nothing of a context that
 * is lost, and a disk that is used in small pieces might go on for ever where
 * every request has to fail.  A thread asks the driver instead, no more than
 * once in WATCH_MS milliseconds and only when the window has been used since:
 * an idle machine is not woken, and neither is the GPU.  It only asks whether a
 * stream without work is done, so a GPU that is merely busy is not taken for
 * lost, and a driver that does not return holds up no request.
 */
#define WATCH_MS 500

struct watch {
  struct cuda *cuda;
  CUstream stream;
  pthread_t thread;
  bool running;

  atomic_bool used;   /* since the thread last looked */
  atomic_bool asleep; /* the thread waits until the window is used */

  pthread_mutex_t lock; /* protects the two below */
  pthread_cond_t wake;
  bool end;
};

/* Begin to look after CUDA, whose context the calling thread has entered.
 * Returns 0, or -1 after log_error.
 */
extern int watch_start (struct watch *watch, struct cuda *cuda);

/* End it; also when it was never started (all zeros).  When the driver does not
 * return to the thread within the context's time limit, the context is declared
 * lost and the thread is left as it is.
 */
extern void watch_stop (struct watch *watch);

/* For watch_note only. */
extern void watch_wake (struct watch *watch);

/* The window is about to be used.  Any thread; two loads, mostly.  NULL is
 * allowed.
 */
static inline void
watch_note (struct watch *watch)
{
  if (watch == NULL ||
      atomic_load_explicit (&watch->used, memory_order_relaxed))
    return;
  /* Sequentially consistent against the thread that goes to sleep: either it
   * sees this, or this sees that it sleeps.
   */
  atomic_store (&watch->used, true);
  if (atomic_load (&watch->asleep))
    watch_wake (watch);
}

#endif /* VRAM_WATCH_H */
