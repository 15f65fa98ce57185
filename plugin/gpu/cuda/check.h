/* nbdkit-vram: checks that the GPU still holds the data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CHECK_H
#define VRAM_CHECK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "gpu/cuda/dma.h"

/* Requests compare clocks at most this often, in nanoseconds.  A machine
 * cannot sleep and wake up in less time.
 */
#define CHECK_NS 250000000

/* Requests ask the driver at most this often, in nanoseconds.  After a rest
 * this takes 30 us.
 */
#define QUERY_NS 2000000000

#define CANARY_SIZE 64

/* A copy by the mapping does not call the driver, so it does not notice that a
 * context was killed, or that VRAM was lost while the machine slept (the
 * driver preserves it only if told to).  So requests check this: every
 * QUERY_NS one of them asks the driver about an idle stream.  After the
 * machine has slept, all requests wait until one of them has compared a
 * canary, a few known bytes in VRAM.  An idle machine is not woken for this.
 */
struct gpu_check {
  struct cuda *cuda;
  struct dma_queues *queues;
  CUdeviceptr canary; /* 0: none, VRAM was short */
  unsigned char bytes[CANARY_SIZE];

  _Atomic int64_t checked_ns; /* time of the last check; wall clock */
  _Atomic int64_t queried_ns; /* when the driver was asked; wall clock */
  _Atomic uint64_t own_slept, *slept; /* how long the machine had slept when
                                       * VRAM was last seen to hold the data,
                                       * in ns, plus 1
                                       */
  bool missed; /* VRAM was not preserved before the canary was written */
  pthread_mutex_t lock; /* one check at a time */
};

/* Prepare checks.  The calling thread must have entered the context.  Returns
 * 0, or -1 as copies do.
 */
extern int gpu_check_begin (struct gpu_check *check, struct cuda *cuda,
                            struct dma_queues *queues);

/* No check may be under way.  CHECK may be all zeros. */
extern void gpu_check_end (struct gpu_check *check);

/* As share_sleep of a provider. */
extern void gpu_check_share (struct gpu_check *check, _Atomic uint64_t *slept);

/* For gpu_check only. */
extern int gpu_check_now (struct gpu_check *check, int64_t now_ns);

/* Call it before a request without data is answered, and after the copy of a
 * request with data.  Returns 0, or -1 with errno = EIO after the GPU was
 * declared lost.  The coarse clock costs a few nanoseconds, and jumps when the
 * machine has slept.
 */
static inline int
gpu_check (struct gpu_check *check)
{
  struct timespec ts;
  int64_t now;

  clock_gettime (CLOCK_REALTIME_COARSE, &ts);
  now = (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
  if (llabs (now - atomic_load_explicit (&check->checked_ns,
                                         memory_order_acquire)) < CHECK_NS)
    return 0;
  return gpu_check_now (check, now);
}

#endif /* VRAM_CHECK_H */
