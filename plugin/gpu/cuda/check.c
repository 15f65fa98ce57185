/* nbdkit-vram: checks that the GPU still holds the data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/log.h"
#include "common/memlock.h"
#include "gpu/cuda/check.h"

/* How much the difference between two clocks may change without sleep, in ns,
 * because one is read after the other.
 */
#define TOLERANCE_NS 10000000

/* Bytes to allocate: a page of VRAM.  All of it is overwritten at the end. */
#define CANARY_ROOM 65536

static int64_t
clock_of (clockid_t clock)
{
  struct timespec ts;

  clock_gettime (clock, &ts);
  return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* How long the machine has slept since boot, in ns, plus 1. */
static uint64_t
slept (void)
{
  return (uint64_t) (clock_of (CLOCK_BOOTTIME) - clock_of (CLOCK_MONOTONIC)) +
         1;
}

static bool
has_slept (const struct gpu_check *check)
{
  return llabs ((int64_t) (slept () - atomic_load (check->slept))) >
         TOLERANCE_NS;
}

/* Whether the driver says that it preserves VRAM while the machine sleeps. */
static bool
is_preserved (void)
{
  FILE *fp = fopen ("/proc/driver/nvidia/params", "re");
  char line[256];
  int on = 0;

  while (fp && on == 0 && fgets (line, sizeof line, fp))
    sscanf (line, "PreserveVideoMemoryAllocations: %d", &on);
  if (fp)
    fclose (fp);
  return on == 1;
}

/* Returns 0, or -1 with errno = EIO and the GPU lost. */
static int
compare_canary (struct gpu_check *check)
{
  unsigned char bytes[CANARY_SIZE];

  if (!check->missed) {
    if (check->canary == 0)
      return 0;
    if (dma_read (check->queues, bytes, check->canary, sizeof bytes) == -1)
      return -1;
    if (memcmp (bytes, check->bytes, sizeof bytes) == 0) {
      log_info ("the machine has slept, and VRAM was preserved");
      return 0;
    }
  }
  cuda_set_lost (check->cuda, "VRAM was not preserved while the machine slept "
                              "(PreserveVideoMemoryAllocations)");
  errno = EIO;
  return -1;
}

int
gpu_check_now (struct gpu_check *check, int64_t now_ns)
{
  int r = 0;

  if (has_slept (check))
    pthread_mutex_lock (&check->lock);
  else if (pthread_mutex_trylock (&check->lock) != 0)
    return 0;
  if (has_slept (check)) {
    r = compare_canary (check);
    if (r == 0)
      atomic_store (check->slept, slept ());
  }
  else if (llabs (now_ns - atomic_load (&check->queried_ns)) >= QUERY_NS) {
    r = dma_query (check->queues);
    /* Another program may have raised the nice value of a thread meanwhile. */
    memlock_check_thread ();
    atomic_store (&check->queried_ns, now_ns);
  }
  if (r == 0)
    atomic_store_explicit (&check->checked_ns, now_ns, memory_order_release);
  pthread_mutex_unlock (&check->lock);
  return r;
}

int
gpu_check_begin (struct gpu_check *check, struct cuda *cuda,
                 struct dma_queues *queues)
{
  check->cuda = cuda;
  check->queues = queues;
  pthread_mutex_init (&check->lock, NULL);
  atomic_init (&check->own_slept, slept ());
  check->slept = &check->own_slept;
  atomic_init (&check->checked_ns, clock_of (CLOCK_REALTIME_COARSE));
  atomic_init (&check->queried_ns, clock_of (CLOCK_REALTIME_COARSE));
  /* If VRAM is short, go on without a canary. */
  if (libcuda.mem_alloc (&check->canary, CANARY_ROOM) != CUDA_SUCCESS) {
    check->canary = 0;
    log_debug ("no VRAM for a canary");
    return 0;
  }
  if (getrandom (check->bytes, CANARY_SIZE, GRND_NONBLOCK) != CANARY_SIZE)
    memset (check->bytes, 0x5a, CANARY_SIZE);
  return dma_write (queues, check->canary, check->bytes, CANARY_SIZE);
}

void
gpu_check_share (struct gpu_check *check, _Atomic uint64_t *slept)
{
  const uint64_t now = atomic_load (check->slept);

  if (atomic_load (slept) == 0)
    atomic_store (slept, now);
  check->slept = slept;
  if (!has_slept (check))
    return;
  /* The canary is newer than that. */
  if (is_preserved ())
    atomic_store (slept, now);
  else {
    check->missed = true;
    atomic_store (&check->checked_ns, 0); /* the next request checks */
  }
}

void
gpu_check_end (struct gpu_check *check)
{
  if (check->canary && !cuda_is_lost (check->cuda)) {
    dma_set (check->queues, check->canary, 0, CANARY_ROOM);
    libcuda.mem_free (check->canary);
  }
  check->canary = 0;
}
