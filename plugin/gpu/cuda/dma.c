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
#include "watchdog.h"

/* A queue's staging memory is two halves, so that the CPU fills or empties one
 * while DMA moves the other.
 */
#define HALVES 2

/* How long a wait polls before it sleeps.  A copy of 4 KiB takes 7 us, after a
 * rest up to 200 us, and sleeping costs more than that.  A longer wait means
 * that the GPU is in trouble, and must not burn a CPU.
 */
#define POLL_NS 250000
#define NAP_US  50

struct dma_queue {
  CUstream stream;
  char *staging;

  /* Recorded behind the copy of a half, and polled until it is done.  Polling
   * a word that the stream writes (cuStreamWriteValue32) would need one more
   * submission to the GPU, for which threads contend: 4 threads read 40 %
   * fewer pages.
   */
  CUevent copied[HALVES];

  struct watchdog_wait wait; /* of the thread that has this queue */
};

struct dma_queues {
  struct cuda *cuda;
  unsigned count;
  size_t half; /* half a staging buffer, the largest piece; bytes */
  struct dma_queue queue[DMA_QUEUES_MAX];
  char *pinned; /* all staging memory */

  pthread_mutex_t lock;
  pthread_cond_t freed; /* or the GPU is lost */
  uint64_t free;        /* bit set: the queue is free; needs the lock */
};

/* A job that one thread does with a queue: COPY (queues, queue, job). */
struct job {
  int (*copy) (struct dma_queues *queues, struct dma_queue *queue,
               const struct job *job);
  const char *verb; /* for debugging: "write" */
  const char *what; /* for errors: "copy to VRAM" */
  CUdeviceptr vram;
  const char *from; /* or */
  char *to;
  unsigned char value;
  size_t count;
};

/* Pause the CPU's pipeline while polling. */
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
open_queue (struct dma_queues *queues, unsigned i)
{
  struct dma_queue *queue = &queues->queue[i];
  CUresult r;

  queue->staging = queues->pinned + i * HALVES * queues->half;
  r = libcuda.stream_create (&queue->stream, CU_STREAM_NON_BLOCKING);
  for (unsigned h = 0; r == CUDA_SUCCESS && h < HALVES; ++h)
    r = libcuda.event_create (&queue->copied[h], CU_EVENT_DISABLE_TIMING);
  return r;
}

static void
close_queue (struct dma_queue *queue)
{
  for (unsigned h = 0; h < HALVES; ++h)
    if (queue->copied[h])
      libcuda.event_destroy (queue->copied[h]);
  if (queue->stream)
    libcuda.stream_destroy (queue->stream);
}

/* The GPU is lost: wake all copies that wait for a queue. */
static void
wake_all (void *arg)
{
  struct dma_queues *queues = arg;

  pthread_mutex_lock (&queues->lock);
  pthread_cond_broadcast (&queues->freed);
  pthread_mutex_unlock (&queues->lock);
}

struct dma_queues *
dma_create (struct cuda *cuda, unsigned count, size_t staging)
{
  struct dma_queues *queues;
  size_t bytes = count * staging;
  void *pinned;
  CUresult r;

  /* One bit of 'free' each. */
  assert (count >= 1 && count <= DMA_QUEUES_MAX);
  queues = calloc (1, sizeof *queues);
  if (queues == NULL) {
    log_error ("calloc: %m");
    return NULL;
  }
  queues->cuda = cuda;
  queues->count = count;
  queues->half = staging / HALVES;
  pthread_mutex_init (&queues->lock, NULL);
  pthread_cond_init (&queues->freed, NULL);

  r = libcuda.mem_host_alloc (&pinned, bytes, CU_MEMHOSTALLOC_PORTABLE);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot pin %s of host memory for lanes=%u of staging=%zu "
               "bytes: " CUDA_WORDS,
               SIZE_STR (bytes), count, staging, CUDA_WORDS_ARGS (r));
    goto err;
  }
  queues->pinned = pinned;
  memset (pinned, 0, bytes);
  for (unsigned i = 0; r == CUDA_SUCCESS && i < count; ++i)
    r = open_queue (queues, i);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot open lanes=%u: " CUDA_WORDS, count,
               CUDA_WORDS_ARGS (r));
    goto err;
  }
  for (unsigned i = 0; i < count; ++i)
    watchdog_add (&queues->queue[i].wait, cuda_expired, cuda);
  watchdog_on_lost (wake_all, queues);
  queues->free = ~UINT64_C (0) >> (64 - count);
  return queues;

err:
  dma_free (queues);
  return NULL;
}

void
dma_free (struct dma_queues *queues)
{
  if (queues == NULL)
    return;
  watchdog_forget (wake_all, queues);
  for (unsigned i = 0; i < queues->count; ++i)
    watchdog_remove (&queues->queue[i].wait);
  if (!cuda_is_lost (queues->cuda)) {
    for (unsigned i = 0; i < queues->count; ++i)
      close_queue (&queues->queue[i]);
    if (queues->pinned)
      libcuda.mem_free_host (queues->pinned);
  }
  pthread_cond_destroy (&queues->freed);
  pthread_mutex_destroy (&queues->lock);
  free (queues);
}

/* Take a free queue, with WAIT after waiting for one.  Returns NULL if none is
 * free or the GPU is lost.  Takes the lowest one, so that few queues are used
 * and their staging memory stays in the CPU's caches.
 */
static struct dma_queue *
get_queue (struct dma_queues *queues, bool wait)
{
  struct dma_queue *queue = NULL;

  pthread_mutex_lock (&queues->lock);
  while (queues->free == 0 && wait && !cuda_is_lost (queues->cuda))
    pthread_cond_wait (&queues->freed, &queues->lock);
  if (queues->free) {
    queue = &queues->queue[__builtin_ctzll (queues->free)];
    queues->free &= queues->free - 1;
  }
  pthread_mutex_unlock (&queues->lock);
  return queue;
}

static void
put_queue (struct dma_queues *queues, struct dma_queue *queue)
{
  pthread_mutex_lock (&queues->lock);
  queues->free |= UINT64_C (1) << (queue - queues->queue);
  pthread_cond_signal (&queues->freed);
  pthread_mutex_unlock (&queues->lock);
}

/* Wait until the copy of piece PIECE is done. */
static int
wait_piece (struct dma_queues *queues, struct dma_queue *queue, unsigned piece,
            const char *what)
{
  uint64_t start = 0;
  CUresult r;

  for (unsigned polls = 1;; ++polls) {
    r = libcuda.event_query (queue->copied[piece % HALVES]);
    if (r == CUDA_SUCCESS) {
      watchdog_progress (&queue->wait);
      return 0;
    }
    if (r != CUDA_ERROR_NOT_READY)
      return cuda_failed (queues->cuda, r, what, queue->stream);
    if (polls % 16 != 0) {
      relax ();
      continue;
    }
    if (start == 0)
      start = clock_ns ();
    else if (clock_ns () - start > POLL_NS) {
      if (cuda_is_lost (queues->cuda)) {
        errno = EIO;
        return -1;
      }
      clock_sleep_us (NAP_US);
    }
  }
}

/* After a failure, wait until no other piece of the copy is moving, so that
 * the next copy can use the staging memory.  If the driver cannot tell, the
 * GPU counts as lost, and no copy uses a queue any more.
 */
static void
quieten (struct dma_queues *queues, struct dma_queue *queue)
{
  int saved = errno;
  CUresult r;

  while (!cuda_is_lost (queues->cuda)) {
    r = libcuda.stream_query (queue->stream);
    if (r == CUDA_SUCCESS)
      break;
    if (r != CUDA_ERROR_NOT_READY)
      cuda_set_lost (
          queues->cuda,
          "cannot tell whether a failed copy has ended: " CUDA_WORDS,
          CUDA_WORDS_ARGS (r));
    clock_sleep_us (NAP_US);
  }
  errno = saved;
}

static size_t
piece_size (const struct dma_queues *queues, size_t count, size_t done)
{
  return count - done < queues->half ? count - done : queues->half;
}

static char *
half_of (const struct dma_queues *queues, const struct dma_queue *queue,
         unsigned piece)
{
  return queue->staging + piece % HALVES * queues->half;
}

/* Write: the CPU fills one half while DMA empties the other. */
static int
write_pieces (struct dma_queues *queues, struct dma_queue *queue,
              const struct job *job)
{
  unsigned piece = 0;
  size_t n;
  CUresult r;

  for (size_t done = 0; done < job->count; done += n, ++piece) {
    n = piece_size (queues, job->count, done);
    if (piece >= HALVES && wait_piece (queues, queue, piece, job->what) == -1)
      return -1;
    memcpy (half_of (queues, queue, piece), job->from + done, n);
    r = libcuda.memcpy_htod_async (
        job->vram + done, half_of (queues, queue, piece), n, queue->stream);
    if (r == CUDA_SUCCESS)
      r = libcuda.event_record (queue->copied[piece % HALVES], queue->stream);
    if (r != CUDA_SUCCESS)
      return cuda_failed (queues->cuda, r, job->what, queue->stream);
  }
  /* A stream works in order: when the last piece is done, all are. */
  return wait_piece (queues, queue, piece - 1, job->what);
}

/* Read: DMA fills one half while the CPU empties the other. */
static int
read_pieces (struct dma_queues *queues, struct dma_queue *queue,
             const struct job *job)
{
  unsigned sent = 0, piece = 0;
  size_t n, sent_bytes = 0;
  CUresult r;

  for (size_t done = 0; done < job->count; done += n, ++piece) {
    while (sent_bytes < job->count && sent < piece + HALVES) {
      n = piece_size (queues, job->count, sent_bytes);
      r = libcuda.memcpy_dtoh_async (half_of (queues, queue, sent),
                                     job->vram + sent_bytes, n, queue->stream);
      if (r == CUDA_SUCCESS)
        r = libcuda.event_record (queue->copied[sent % HALVES], queue->stream);
      if (r != CUDA_SUCCESS)
        return cuda_failed (queues->cuda, r, job->what, queue->stream);
      sent_bytes += n;
      ++sent;
    }
    n = piece_size (queues, job->count, done);
    if (wait_piece (queues, queue, piece, job->what) == -1)
      return -1;
    memcpy (job->to + done, half_of (queues, queue, piece), n);
  }
  return 0;
}

static int
set_bytes (struct dma_queues *queues, struct dma_queue *queue,
           const struct job *job)
{
  CUresult r;

  r = libcuda.memset_d8_async (job->vram, job->value, job->count,
                               queue->stream);
  if (r == CUDA_SUCCESS)
    r = libcuda.event_record (queue->copied[0], queue->stream);
  if (r != CUDA_SUCCESS)
    return cuda_failed (queues->cuda, r, job->what, queue->stream);
  return wait_piece (queues, queue, 0, job->what);
}

/* Query an idle queue. */
static int
query (struct dma_queues *queues, struct dma_queue *queue,
       const struct job *job)
{
  CUresult r = libcuda.stream_query (queue->stream);

  (void) job;
  if (r == CUDA_SUCCESS || r == CUDA_ERROR_NOT_READY)
    return 0;
  cuda_set_lost (queues->cuda, CUDA_WORDS, CUDA_WORDS_ARGS (r));
  errno = EIO;
  return -1;
}

static int
copy_nothing (struct dma_queues *queues, struct dma_queue *queue,
              const struct job *job)
{
  (void) queues;
  (void) queue;
  (void) job;
  return 0;
}

/* Do JOB with QUEUE.  After a failure this returns when the GPU has finished
 * with the queue's buffers, or is lost.
 */
static int
use_queue (struct dma_queues *queues, struct dma_queue *queue,
           const struct job *job)
{
  int r;

  if (sigsetjmp (queue->wait.escape, 0) != 0) {
    /* The watchdog has interrupted a call into the driver. */
    watchdog_end (&queue->wait);
    errno = EIO;
    return -1;
  }
  watchdog_begin (&queue->wait);
  r = cuda_enter (queues->cuda);
  if (r == 0) {
    r = job->copy (queues, queue, job);
    if (r == -1)
      quieten (queues, queue);
  }
  watchdog_end (&queue->wait);
  return r;
}

/* Do JOB with any queue. */
static int
run (struct dma_queues *queues, const struct job *job)
{
  struct dma_queue *queue = get_queue (queues, true);
  int r;

  if (queue == NULL) {
    errno = EIO;
    return -1;
  }
  if (vram_debug_copies)
    log_debug ("queue %td: %s %zu bytes at 0x%llx", queue - queues->queue,
               job->verb, job->count, job->vram);
  r = use_queue (queues, queue, job);
  put_queue (queues, queue);
  return r;
}

int
dma_write (struct dma_queues *queues, CUdeviceptr dst, const void *src,
           size_t count)
{
  const struct job job = {
    .copy = write_pieces,
    .verb = "write",
    .what = "copy to VRAM",
    .vram = dst,
    .from = src,
    .count = count,
  };

  return run (queues, &job);
}

int
dma_read (struct dma_queues *queues, void *dst, CUdeviceptr src, size_t count)
{
  const struct job job = {
    .copy = read_pieces,
    .verb = "read",
    .what = "copy from VRAM",
    .vram = src,
    .to = dst,
    .count = count,
  };

  return run (queues, &job);
}

int
dma_set (struct dma_queues *queues, CUdeviceptr dst, unsigned char value,
         size_t count)
{
  const struct job job = {
    .copy = set_bytes,
    .verb = "set",
    .what = "overwrite VRAM",
    .vram = dst,
    .value = value,
    .count = count,
  };

  return run (queues, &job);
}

/* Do JOB if a queue is free.  If all are busy, their copies do the same work.
 */
static int
run_if_free (struct dma_queues *queues, const struct job *job)
{
  struct dma_queue *queue = get_queue (queues, false);
  int r;

  if (queue == NULL)
    return 0;
  r = use_queue (queues, queue, job);
  put_queue (queues, queue);
  return r;
}

int
dma_query (struct dma_queues *queues)
{
  const struct job job = { .copy = query };

  return run_if_free (queues, &job);
}

int
dma_prepare_thread (struct dma_queues *queues)
{
  const struct job job = { .copy = copy_nothing };

  return cuda_entered (queues->cuda) ? 0 : run_if_free (queues, &job);
}

int
dma_warm_up (struct dma_queues *queues, CUdeviceptr scratch)
{
  size_t bytes = HALVES * queues->half;
  char *buffer = calloc (1, bytes);
  const struct job write = {
    .copy = write_pieces,
    .what = "copy to VRAM",
    .vram = scratch,
    .from = buffer,
    .count = bytes,
  };
  const struct job read = {
    .copy = read_pieces,
    .what = "copy from VRAM",
    .vram = scratch,
    .to = buffer,
    .count = bytes,
  };
  int r = 0;

  if (buffer == NULL) {
    log_error ("calloc: %m");
    return -1;
  }
  for (unsigned i = 0; r == 0 && i < queues->count; ++i) {
    r = use_queue (queues, &queues->queue[i], &write);
    if (r == 0)
      r = use_queue (queues, &queues->queue[i], &read);
  }
  free (buffer);
  return r;
}
