/* nbdkit-vram: copies between host memory and VRAM by DMA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/clock.h"
#include "debug.h"
#include "gpu/cuda/dma.h"
#include "common/units.h"

/* A lane's staging memory is two halves, so that the CPU fills or empties one
 * while DMA moves the other.
 */
#define HALVES 2

/* How long a wait polls before it sleeps.  A copy of 4 KiB takes 7 us, and up to
 * 200 us when the GPU has been idle: sleeping costs more than that.  A wait that
 * is longer than this is for a sick GPU, and must not burn a CPU.
 */
#define POLL_NS 250000
#define NAP_US  50

struct dma_queue {
  CUstream stream;
  char *staging;

  /* Recorded behind the copy of a half and asked whether it is done.  A word
   * that the stream writes for the CPU to poll (cuStreamWriteValue32) is one
   * more submission to the GPU, and these are what threads contend for: 4
   * threads get 40 % fewer reads with it.
   */
  CUevent copied[HALVES];
};

/* A copy that waits for a lane; stands on its thread's stack. */
struct waiter {
  struct waiter *next;
  struct dma_queue *lane; /* set by the one who hands a lane over */
  pthread_cond_t handed;
};

struct dma_queues {
  struct cuda *cuda;
  unsigned count;
  size_t half; /* bytes of half a staging buffer, the largest piece */
  struct dma_queue lane[DMA_QUEUES_MAX];
  char *pinned; /* all staging memory */

  /* Bit set: the lane is free.  Taken and given back without the lock unless
   * somebody waits.
   */
  _Atomic uint64_t free;
  atomic_uint waiting;
  pthread_mutex_t lock; /* protects the queue */
  struct waiter *first, **last;

  /* Lanes that were given back while somebody waited, and pieces of large
   * copies: while this changes, the driver answers.
   */
  atomic_uint answers;
};

/* Give up the CPU's pipeline for a moment while polling. */
static inline void
relax (void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause ();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static CUresult
open_queue (struct dma_queues *lanes, unsigned i)
{
  struct dma_queue *lane = &lanes->lane[i];
  CUresult r;

  lane->staging = lanes->pinned + i * HALVES * lanes->half;
  r = libcuda.stream_create (&lane->stream, CU_STREAM_NON_BLOCKING);
  for (unsigned h = 0; r == CUDA_SUCCESS && h < HALVES; ++h)
    r = libcuda.event_create (&lane->copied[h], CU_EVENT_DISABLE_TIMING);
  return r;
}

static void
close_queue (struct dma_queue *lane)
{
  for (unsigned h = 0; h < HALVES; ++h)
    if (lane->copied[h])
      libcuda.event_destroy (lane->copied[h]);
  if (lane->stream)
    libcuda.stream_destroy (lane->stream);
}

static uint64_t
all_free (unsigned count)
{
  return ~UINT64_C (0) >> (64 - count);
}

struct dma_queues *
dma_create (struct cuda *cuda, unsigned count, size_t staging)
{
  struct dma_queues *lanes;
  size_t bytes = count * staging;
  void *pinned;
  CUresult r;

  /* One bit of lanes->free each. */
  assert (count >= 1 && count <= DMA_QUEUES_MAX);
  lanes = calloc (1, sizeof *lanes);
  if (lanes == NULL) {
    log_error ("calloc: %m");
    return NULL;
  }
  lanes->cuda = cuda;
  lanes->count = count;
  lanes->half = staging / HALVES;
  lanes->last = &lanes->first;
  pthread_mutex_init (&lanes->lock, NULL);

  r = libcuda.mem_host_alloc (&pinned, bytes, CU_MEMHOSTALLOC_PORTABLE);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot pin %s of host memory for lanes=%u of staging=%zu "
               "bytes: " CUDA_WORDS,
               SIZE_STR (bytes), count, staging, CUDA_WORDS_ARGS (r));
    goto err_lanes;
  }
  lanes->pinned = pinned;
  memset (pinned, 0, bytes);
  for (unsigned i = 0; r == CUDA_SUCCESS && i < count; ++i)
    r = open_queue (lanes, i);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot open lanes=%u: " CUDA_WORDS, count,
               CUDA_WORDS_ARGS (r));
    goto err_lanes;
  }
  atomic_init (&lanes->free, all_free (count));
  return lanes;

err_lanes:
  dma_free (lanes);
  return NULL;
}

void
dma_free (struct dma_queues *lanes)
{
  if (lanes == NULL)
    return;
  if (!cuda_is_lost (lanes->cuda)) {
    for (unsigned i = 0; i < lanes->count; ++i)
      close_queue (&lanes->lane[i]);
    if (lanes->pinned)
      libcuda.mem_free_host (lanes->pinned);
  }
  pthread_mutex_destroy (&lanes->lock);
  free (lanes);
}

/* A free lane, or NULL.  The lowest one: few lanes at work keep their staging
 * memory in the CPU's caches.
 */
static struct dma_queue *
take_free (struct dma_queues *lanes)
{
  uint64_t free = atomic_load (&lanes->free);

  while (free) {
    if (atomic_compare_exchange_weak (&lanes->free, &free, free & (free - 1)))
      return &lanes->lane[__builtin_ctzll (free)];
  }
  return NULL;
}

/* Leave the queue without a lane.  Under the lock. */
static void
leave_queue (struct dma_queues *lanes, struct waiter *self)
{
  struct waiter **p = &lanes->first;

  while (*p != self)
    p = &(*p)->next;
  *p = self->next;
  if (lanes->last == &self->next)
    lanes->last = p;
}

/* The driver has not given back any lane for as long as the GPU may take to
 * answer: whoever has them is inside a call that does not return.  Under the
 * lock.
 */
static void
declare_stuck (struct dma_queues *lanes)
{
  cuda_set_lost (lanes->cuda,
                 "the driver has not answered for %u ms (gpu-timeout)",
                 lanes->cuda->timeout_ms);
  for (struct waiter *w = lanes->first; w; w = w->next)
    pthread_cond_signal (&w->handed);
}

/* Sleep until SELF is handed a lane, or the GPU is lost.  Under the lock. */
static void
sleep_for_queue (struct dma_queues *lanes, struct waiter *self)
{
  unsigned seen = atomic_load (&lanes->answers), slices = 0, now;
  struct timespec until;

  while (self->lane == NULL && !cuda_is_lost (lanes->cuda)) {
    until = clock_after_ns (cuda_slice_ns (lanes->cuda->timeout_ms));
    if (pthread_cond_timedwait (&self->handed, &lanes->lock, &until) !=
        ETIMEDOUT)
      continue;
    now = atomic_load (&lanes->answers);
    slices = now == seen ? slices + 1 : 0;
    seen = now;
    if (slices == CUDA_SLICES && self->lane == NULL)
      declare_stuck (lanes);
  }
}

/* NULL when the GPU is lost. */
static struct dma_queue *
wait_for_queue (struct dma_queues *lanes)
{
  struct waiter self = { .lane = NULL };

  clock_cond_init (&self.handed);
  pthread_mutex_lock (&lanes->lock);
  /* Sequentially consistent against put_queue: either it sees that somebody
   * waits, or this sees the lane that it gave back.
   */
  atomic_fetch_add (&lanes->waiting, 1);
  if (lanes->first == NULL)
    self.lane = take_free (lanes);
  if (self.lane == NULL) {
    *lanes->last = &self;
    /* cppcheck-suppress autoVariables ; out of the queue before this returns */
    lanes->last = &self.next;
    sleep_for_queue (lanes, &self);
    if (self.lane == NULL)
      leave_queue (lanes, &self);
  }
  atomic_fetch_sub (&lanes->waiting, 1);
  pthread_mutex_unlock (&lanes->lock);
  pthread_cond_destroy (&self.handed);
  return self.lane;
}

/* NULL when the GPU is lost. */
static struct dma_queue *
get_queue (struct dma_queues *lanes)
{
  struct dma_queue *lane = NULL;

  /* Who comes later must not overtake those who wait. */
  if (atomic_load (&lanes->waiting) == 0)
    lane = take_free (lanes);
  return lane ? lane : wait_for_queue (lanes);
}

static void
put_queue (struct dma_queues *lanes, struct dma_queue *lane)
{
  struct waiter *first;

  atomic_fetch_or (&lanes->free, UINT64_C (1) << (lane - lanes->lane));
  if (atomic_load (&lanes->waiting) == 0)
    return;
  pthread_mutex_lock (&lanes->lock);
  atomic_fetch_add (&lanes->answers, 1);
  first = lanes->first;
  if (first) {
    lane = take_free (lanes);
    if (lane) {
      lanes->first = first->next;
      if (lanes->first == NULL)
        lanes->last = &lanes->first;
      first->lane = lane;
      pthread_cond_signal (&first->handed);
    }
  }
  pthread_mutex_unlock (&lanes->lock);
}

/* A lane, with the context made current, or NULL with errno = EIO.  While this
 * waited for its turn, the context may have been lost: then the driver is not
 * called again, and the staging memory may still be the GPU's.
 */
static struct dma_queue *
enter_queue (struct dma_queues *lanes)
{
  struct dma_queue *lane;

  if (cuda_enter (lanes->cuda) == -1)
    return NULL;
  lane = get_queue (lanes);
  if (lane && !cuda_is_lost (lanes->cuda))
    return lane;
  if (lane)
    put_queue (lanes, lane);
  errno = EIO;
  return NULL;
}

/* Whether a wait that began at START may go on: 0, or -1 with errno = EIO when
 * the GPU is lost, perhaps declared so here.  *LATE, false at first, has the GPU
 * asked once more after the limit: it may have answered long ago, while this
 * process was stopped.
 */
static int
check_long_wait (struct dma_queues *lanes, uint64_t start, bool *late)
{
  struct cuda *cuda = lanes->cuda;

  if (!cuda_is_lost (cuda) && *late)
    cuda_set_lost (cuda, "it has not answered for %u ms (gpu-timeout)",
                   cuda->timeout_ms);
  if (cuda_is_lost (cuda)) {
    errno = EIO;
    return -1;
  }
  *late = clock_ns () - start > (uint64_t) cuda->timeout_ms * 1000000;
  return 0;
}

/* Wait until the copy of piece PIECE is done. */
static int
wait_piece (struct dma_queues *lanes, struct dma_queue *lane, unsigned piece,
            const char *what)
{
  uint64_t start = 0;
  bool late = false;
  CUresult r;

  for (unsigned polls = 1;; ++polls) {
    r = libcuda.event_query (lane->copied[piece % HALVES]);
    if (r == CUDA_SUCCESS)
      return 0;
    if (r != CUDA_ERROR_NOT_READY)
      return cuda_failed (lanes->cuda, r, what, lane->stream);
    if (polls % 16 != 0) {
      relax ();
      continue;
    }
    if (start == 0)
      start = clock_ns ();
    else if (clock_ns () - start > POLL_NS) {
      if (check_long_wait (lanes, start, &late) == -1)
        return -1;
      clock_sleep_us (NAP_US);
    }
  }
}

/* After a failure, pieces of the same copy may still be moving.  Wait until
 * the lane is quiet, so that whoever gets it next owns its staging memory.  A
 * driver that cannot say whether it is leaves the GPU lost: nobody uses a lane
 * then.
 */
static void
quieten (struct dma_queues *lanes, struct dma_queue *lane)
{
  uint64_t start = clock_ns ();
  int saved = errno;
  bool late = false;
  CUresult r;

  while (!cuda_is_lost (lanes->cuda)) {
    r = libcuda.stream_query (lane->stream);
    if (r == CUDA_SUCCESS)
      break;
    if (r != CUDA_ERROR_NOT_READY)
      cuda_set_lost (
          lanes->cuda,
          "it does not say whether a failed copy has ended: " CUDA_WORDS,
          CUDA_WORDS_ARGS (r));
    else if (check_long_wait (lanes, start, &late) == 0)
      clock_sleep_us (NAP_US);
  }
  errno = saved;
}

/* A large copy gets on: those who wait for its lane have no reason to despair. */
static void
note_answer (struct dma_queues *lanes)
{
  atomic_fetch_add_explicit (&lanes->answers, 1, memory_order_relaxed);
}

static size_t
piece_size (const struct dma_queues *lanes, size_t count, size_t done)
{
  return count - done < lanes->half ? count - done : lanes->half;
}

static char *
half_of (const struct dma_queues *lanes, const struct dma_queue *lane,
         unsigned piece)
{
  return lane->staging + piece % HALVES * lanes->half;
}

/* The CPU fills one half while DMA empties the other. */
static int
write_pieces (struct dma_queues *lanes, struct dma_queue *lane,
              CUdeviceptr dst, const char *src, size_t count)
{
  static const char what[] = "copy to VRAM";
  unsigned piece = 0;
  size_t n;
  CUresult r;

  for (size_t done = 0; done < count; done += n, ++piece) {
    n = piece_size (lanes, count, done);
    if (piece >= HALVES) {
      if (wait_piece (lanes, lane, piece, what) == -1)
        return -1;
      note_answer (lanes);
    }
    memcpy (half_of (lanes, lane, piece), src + done, n);
    r = libcuda.memcpy_htod_async (dst + done, half_of (lanes, lane, piece), n,
                                   lane->stream);
    if (r == CUDA_SUCCESS)
      r = libcuda.event_record (lane->copied[piece % HALVES], lane->stream);
    if (r != CUDA_SUCCESS)
      return cuda_failed (lanes->cuda, r, what, lane->stream);
  }
  /* A stream works in order: with the last piece, all are done. */
  return wait_piece (lanes, lane, piece - 1, what);
}

/* DMA fills one half while the CPU empties the other. */
static int
read_pieces (struct dma_queues *lanes, struct dma_queue *lane, char *dst,
             CUdeviceptr src, size_t count)
{
  static const char what[] = "copy from VRAM";
  unsigned sent = 0, piece = 0;
  size_t n, sent_bytes = 0;
  CUresult r;

  for (size_t done = 0; done < count; done += n, ++piece) {
    while (sent_bytes < count && sent < piece + HALVES) {
      n = piece_size (lanes, count, sent_bytes);
      r = libcuda.memcpy_dtoh_async (half_of (lanes, lane, sent),
                                     src + sent_bytes, n, lane->stream);
      if (r == CUDA_SUCCESS)
        r = libcuda.event_record (lane->copied[sent % HALVES], lane->stream);
      if (r != CUDA_SUCCESS)
        return cuda_failed (lanes->cuda, r, what, lane->stream);
      sent_bytes += n;
      ++sent;
    }
    n = piece_size (lanes, count, done);
    if (wait_piece (lanes, lane, piece, what) == -1)
      return -1;
    memcpy (dst + done, half_of (lanes, lane, piece), n);
    if (done + n < count)
      note_answer (lanes);
  }
  return 0;
}

static int
set_bytes (struct dma_queues *lanes, struct dma_queue *lane, CUdeviceptr dst,
           unsigned char value, size_t count)
{
  static const char what[] = "overwrite VRAM";
  CUresult r;

  r = libcuda.memset_d8_async (dst, value, count, lane->stream);
  if (r == CUDA_SUCCESS)
    r = libcuda.event_record (lane->copied[0], lane->stream);
  if (r != CUDA_SUCCESS)
    return cuda_failed (lanes->cuda, r, what, lane->stream);
  return wait_piece (lanes, lane, 0, what);
}

/* Give LANE back after a copy with the result R: after one that failed, only
 * when the GPU is done with its buffers.
 */
static void
leave_queue_after (struct dma_queues *lanes, struct dma_queue *lane, int r)
{
  if (r == -1)
    quieten (lanes, lane);
  put_queue (lanes, lane);
}

static void
log_copy (const struct dma_queues *lanes, const struct dma_queue *lane,
          const char *what, size_t count, CUdeviceptr address)
{
  if (vram_debug_copies)
    log_debug ("lane %td: %s %zu bytes at 0x%llx", lane - lanes->lane, what,
               count, address);
}

int
dma_write (struct dma_queues *lanes, CUdeviceptr dst, const void *src,
           size_t count)
{
  struct dma_queue *lane;
  int r;

  lane = enter_queue (lanes);
  if (lane == NULL)
    return -1;
  log_copy (lanes, lane, "write", count, dst);
  r = write_pieces (lanes, lane, dst, src, count);
  leave_queue_after (lanes, lane, r);
  return r;
}

int
dma_read (struct dma_queues *lanes, void *dst, CUdeviceptr src, size_t count)
{
  struct dma_queue *lane;
  int r;

  lane = enter_queue (lanes);
  if (lane == NULL)
    return -1;
  log_copy (lanes, lane, "read", count, src);
  r = read_pieces (lanes, lane, dst, src, count);
  leave_queue_after (lanes, lane, r);
  return r;
}

int
dma_set (struct dma_queues *lanes, CUdeviceptr dst, unsigned char value,
         size_t count)
{
  struct dma_queue *lane;
  int r;

  lane = enter_queue (lanes);
  if (lane == NULL)
    return -1;
  log_copy (lanes, lane, "set", count, dst);
  r = set_bytes (lanes, lane, dst, value, count);
  leave_queue_after (lanes, lane, r);
  return r;
}

unsigned
dma_completed (struct dma_queues *lanes)
{
  /* One that always waits, as far as put_queue can see. */
  atomic_fetch_add (&lanes->waiting, 1);
  return atomic_load (&lanes->answers);
}

bool
dma_stalled (const struct dma_queues *lanes, unsigned *seen)
{
  unsigned now = atomic_load (&lanes->answers);
  bool answered = now != *seen;

  *seen = now;
  return !answered && atomic_load (&lanes->free) != all_free (lanes->count);
}

int
dma_warm_up (struct dma_queues *lanes, CUdeviceptr scratch)
{
  size_t bytes = HALVES * lanes->half;
  char *buffer = calloc (1, bytes);
  int r = -1;

  if (buffer == NULL) {
    log_error ("calloc: %m");
    return -1;
  }
  if (cuda_enter (lanes->cuda) == -1)
    goto out;
  for (unsigned i = 0; i < lanes->count; ++i)
    if (write_pieces (lanes, &lanes->lane[i], scratch, buffer, bytes) == -1 ||
        read_pieces (lanes, &lanes->lane[i], buffer, scratch, bytes) == -1)
      goto out;
  r = 0;

out:
  free (buffer);
  return r;
}
