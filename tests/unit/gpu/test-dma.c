/* nbdkit-vram: tests of the DMA queues, with a driver that does work as late
 * as possible
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "common/log.h"
#include "gpu/cuda/dma.h"
#include "gpu/driver.h"
#include "nbdkit-stubs.h"
#include "watchdog.h"

#define UNKNOWN CUDA_ERROR_UNKNOWN

/* The VRAM that the tests copy to and from. */
#define VRAM (4U << 20)

static struct cuda cuda;
static struct dma_queues *queues;
static CUdeviceptr vram;

static void
look (uint64_t offset, void *buf, size_t count)
{
  CHECK_EQ (driver->peek (vram + offset, buf, count), CUDA_SUCCESS);
}

static void
put (uint64_t offset, const void *buf, size_t count)
{
  CHECK_EQ (driver->poke (vram + offset, buf, count), CUDA_SUCCESS);
}

static void
begin (unsigned count, size_t staging, unsigned timeout_ms)
{
  driver_begin ();
  stub_messages_clear ();
  memset (&cuda, 0, sizeof cuda);
  CHECK_EQ (watchdog_start (timeout_ms, NULL), 0);
  CHECK_EQ (cuda_open (&cuda, 0), 0);
  CHECK_EQ (libcuda.mem_alloc (&vram, VRAM), CUDA_SUCCESS);
  queues = dma_create (&cuda, count, staging);
  CHECK (queues != NULL);
}

static void
end (void)
{
  dma_free (queues);
  libcuda.mem_free (vram);
  cuda_close (&cuda);
  watchdog_stop ();
  driver_check_freed ();
  CHECK_EQ (stub_errors_count (), 0);
}

/* As end, for a context that was lost, whose objects cannot be freed. */
static void
end_lost (void)
{
  unsigned calls = driver->calls (NULL);

  CHECK (cuda_is_lost (&cuda));
  dma_free (queues);
  cuda_close (&cuda);
  CHECK_EQ (driver->calls (NULL), calls);
}

static void
fill (struct rnd *rnd, unsigned char *buf, size_t count)
{
  for (size_t i = 0; i < count; ++i)
    buf[i] = (unsigned char) rnd_next (rnd);
}

/* Writes COUNT random bytes to OFFSET and reads them back.  The bytes around
 * them must not change.
 */
static void
round_trip (struct rnd *rnd, uint64_t offset, size_t count)
{
  enum { AROUND = 64 };
  unsigned char *data = calloc (1, count), *back = calloc (1, count);
  unsigned char around[2][AROUND], now[AROUND];

  CHECK (data != NULL && back != NULL);
  fill (rnd, data, count);
  look (offset - AROUND, around[0], AROUND);
  look (offset + count, around[1], AROUND);
  CHECK_EQ (dma_write (queues, vram + offset, data, count), 0);
  look (offset, back, count);
  CHECK (memcmp (back, data, count) == 0);
  look (offset - AROUND, now, AROUND);
  CHECK (memcmp (around[0], now, AROUND) == 0);
  look (offset + count, now, AROUND);
  CHECK (memcmp (around[1], now, AROUND) == 0);
  memset (back, 0, count);
  CHECK_EQ (dma_read (queues, back, vram + offset, count), 0);
  CHECK (memcmp (back, data, count) == 0);
  CHECK_EQ (driver->pending (), 0);
  free (data);
  free (back);
}

/* Less than one piece, whole pieces, and a byte more or less. */
static void
test_pieces (void)
{
  static const size_t stagings[] = { STAGING_MIN, 64 * 1024 };
  struct rnd rnd;

  rnd_begin (&rnd, 1);
  for (unsigned s = 0; s < 2; ++s) {
    size_t half = stagings[s] / 2;

    begin (2, stagings[s], 20000);
    round_trip (&rnd, 1000, 1);
    for (size_t halves = 1; halves <= 6; ++halves)
      for (int more = -1; more <= 1; ++more)
        round_trip (&rnd, 64 + rnd_below (&rnd, 5000),
                    halves * half + (size_t) more);
    for (unsigned i = 0; i < check_effort (100); ++i)
      round_trip (&rnd, 64 + rnd_below (&rnd, 50000),
                  1 + rnd_below (&rnd, 8 * half));
    end ();
  }
}

static void
test_set (void)
{
  static unsigned char bytes[100000];

  begin (1, STAGING_MIN, 20000);
  memset (bytes, 1, sizeof bytes);
  put (0, bytes, sizeof bytes);
  CHECK_EQ (dma_set (queues, vram + 5000, 0, 70001), 0);
  look (0, bytes, sizeof bytes);
  for (unsigned i = 0; i < 100000; ++i)
    CHECK_EQ (bytes[i], i < 5000 || i >= 75001);
  end ();
}

/* The warm-up copies in both directions, on every queue. */
static void
test_warm_up (void)
{
  begin (5, STAGING_MIN, 20000);
  CHECK_EQ (dma_warm_up (queues, vram), 0);
  CHECK_EQ (driver->calls ("cuMemcpyHtoDAsync_v2"), 10);
  CHECK_EQ (driver->calls ("cuMemcpyDtoHAsync_v2"), 10);
  end ();
}

/* ---- Threads ---- */

#define THREADS 8
#define REGION  (VRAM / THREADS)

static void *
copier (void *arg)
{
  uint64_t self = (uint64_t) (uintptr_t) arg;
  unsigned char data[40000], back[40000];
  struct rnd rnd;

  rnd_begin (&rnd, 10 + self);
  for (unsigned i = 0; i < check_effort (400); ++i) {
    size_t count = 1 + rnd_below (&rnd, sizeof data);
    uint64_t offset =
        self * REGION + rnd_below (&rnd, REGION - (uint64_t) count);

    fill (&rnd, data, count);
    CHECK_EQ (dma_write (queues, vram + offset, data, count), 0);
    CHECK_EQ (dma_read (queues, back, vram + offset, count), 0);
    CHECK (memcmp (back, data, count) == 0);
  }
  return NULL;
}

static void
test_more_threads_than_queues (void)
{
  static const unsigned counts[] = { 1, 2, 3, DMA_QUEUES_MAX };
  pthread_t thread[THREADS];

  for (unsigned c = 0; c < 4; ++c) {
    begin (counts[c], STAGING_MIN, 20000);
    for (uintptr_t i = 0; i < THREADS; ++i)
      CHECK_EQ (pthread_create (&thread[i], NULL, copier, (void *) i), 0);
    for (unsigned i = 0; i < THREADS; ++i)
      pthread_join (thread[i], NULL);
    CHECK (driver->most_busy () <= counts[c]);
    CHECK_EQ (driver->pending (), 0);
    end ();
  }
}

/* Copies so small that the threads spend their time on taking queues. */
static void *
take_queues (void *arg)
{
  uint64_t offset = (uint64_t) (uintptr_t) arg * REGION;
  uint64_t until = clock_ms () + 1500;

  for (unsigned i = 0; i < check_effort (50000) && clock_ms () < until; ++i) {
    char byte = (char) i, back = (char) (i + 1);

    CHECK_EQ (dma_write (queues, vram + offset, &byte, 1), 0);
    CHECK_EQ (dma_read (queues, &back, vram + offset, 1), 0);
    CHECK_EQ (back, byte);
  }
  return NULL;
}

static void
test_queues_are_exclusive (void)
{
  /* Fewer queues than threads, and more, so that no thread waits. */
  static const unsigned counts[] = { 3, THREADS + 2 };
  pthread_t thread[THREADS];

  for (unsigned c = 0; c < 2; ++c) {
    begin (counts[c], STAGING_MIN, 20000);
    for (uintptr_t i = 0; i < THREADS; ++i)
      CHECK_EQ (pthread_create (&thread[i], NULL, take_queues, (void *) i), 0);
    for (unsigned i = 0; i < THREADS; ++i)
      pthread_join (thread[i], NULL);
    CHECK (driver->most_busy () <= counts[c]);
    end ();
  }
}

/* A thread that writes one byte to an offset of its own. */
struct writer {
  pthread_t thread;
  atomic_int tid; /* set just before it writes */
  uint64_t offset;
  int r, error;
};

static void *
write_one (void *arg)
{
  struct writer *writer = arg;
  char byte = 1;

  atomic_store (&writer->tid, (int) syscall (SYS_gettid));
  writer->r = dma_write (queues, vram + writer->offset, &byte, 1);
  writer->error = errno;
  return NULL;
}

/* Whether a thread of this process sleeps, or has ended.  On a busy machine
 * its wait may be over.
 */
static bool
sleeps (int tid)
{
  char path[64], line[512];
  const char *p = NULL;
  FILE *fp;

  snprintf (path, sizeof path, "/proc/self/task/%d/stat", tid);
  fp = fopen (path, "r");
  if (fp == NULL)
    return true;
  if (fgets (line, sizeof line, fp))
    p = strrchr (line, ')');
  fclose (fp);
  return p == NULL || p[2] == 'S';
}

/* Starts a writer, and returns when it waits for a queue or for the GPU. */
static void
start_waiting (struct writer *writer, uint64_t offset)
{
  unsigned calm = 0;

  atomic_store (&writer->tid, 0);
  writer->offset = offset;
  CHECK_EQ (pthread_create (&writer->thread, NULL, write_one, writer), 0);
  /* It sleeps in each of several checks, so it has begun to wait. */
  while (calm < 5) {
    clock_sleep_us (1000);
    if (atomic_load (&writer->tid) && sleeps (atomic_load (&writer->tid)))
      ++calm;
    else
      calm = 0;
  }
}

/* ---- Failures ---- */

/* The NTH call of FN fails during a copy of five pieces.  The copy fails with
 * EIO, its queue has no work left, and the next copies are right.
 */
static void
fail_once (struct rnd *rnd, const char *fn, unsigned nth, bool write)
{
  enum { COUNT = 5 * STAGING_MIN / 2 - 7 };
  static unsigned char data[COUNT], old[COUNT], now[COUNT];
  int r;

  begin (1, STAGING_MIN, 20000);
  fill (rnd, data, COUNT);
  fill (rnd, old, COUNT);
  put (100, old, COUNT);
  driver->fail (fn, nth, UNKNOWN);
  errno = 0;
  r = write ? dma_write (queues, vram + 100, data, COUNT)
            : dma_read (queues, data, vram + 100, COUNT);
  if (driver->failed () == 0) {
    /* The copy had fewer calls. */
    CHECK_EQ (r, 0);
    driver->fail (NULL, 0, 0);
  }
  else {
    CHECK_EQ (r, -1);
    CHECK_EQ (errno, EIO);
    CHECK_EQ (stub_errors_count (), 1);
    CHECK_HOLDS (stub_errors (), write ? "copy to VRAM" : "copy from VRAM");
    stub_messages_clear ();
  }
  CHECK (!cuda_is_lost (&cuda));
  /* The next copy in the queue must not find work in flight. */
  CHECK_EQ (driver->pending (), 0);
  look (100, now, COUNT);
  for (unsigned i = 0; write && i < COUNT; ++i)
    CHECK (now[i] == old[i] || now[i] == data[i]);
  round_trip (rnd, 30000, COUNT);
  round_trip (rnd, 100, 17);
  end ();
}

static void
test_failures (void)
{
  struct rnd rnd;

  rnd_begin (&rnd, 3);
  for (unsigned nth = 1; nth <= 12; ++nth)
    for (int write = 0; write <= 1; ++write) {
      fail_once (&rnd, write ? "cuMemcpyHtoDAsync" : "cuMemcpyDtoHAsync", nth,
                 write);
      fail_once (&rnd, "cuEventRecord", nth, write);
      fail_once (&rnd, "cuEventQuery", nth, write);
    }
}

/* A kind of error is logged once, for any number of requests. */
static void
test_no_flood (void)
{
  char byte = 1;

  begin (2, STAGING_MIN, 20000);
  for (unsigned i = 0; i < 50; ++i) {
    driver->fail ("cuMemcpyHtoDAsync", 1, UNKNOWN);
    CHECK_EQ (dma_write (queues, vram, &byte, 1), -1);
  }
  CHECK_EQ (stub_errors_count (), 1);
  driver->fail ("cuMemcpyHtoDAsync", 1, 700);
  CHECK_EQ (dma_write (queues, vram, &byte, 1), -1);
  CHECK_EQ (stub_errors_count (), 2);
  stub_messages_clear ();
  end ();
}

/* The context is lost: every call returns an error. */
static void
test_lost (void)
{
  char buf[100] = "";
  unsigned calls;

  begin (2, STAGING_MIN, 20000);
  driver->lose (-1, 719);
  CHECK_EQ (dma_write (queues, vram, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK (cuda_is_lost (&cuda));
  CHECK_EQ (stub_errors_count (), 2);
  CHECK_HOLDS (stub_errors (), "the GPU is lost");
  calls = driver->calls (NULL);
  errno = 0;
  CHECK_EQ (dma_read (queues, buf, vram, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  errno = 0;
  CHECK_EQ (dma_set (queues, vram, 0, 4096), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (driver->calls (NULL), calls);
  CHECK_EQ (stub_errors_count (), 2);
  end_lost ();
}

/* When the GPU is lost, a thread that is writing to the log is not
 * interrupted.
 */
static pthread_mutex_t slow_lock = PTHREAD_MUTEX_INITIALIZER;
static log_sink *usual_log;

static void
slow_log (enum log_level level, const char *format, va_list args)
{
  pthread_mutex_lock (&slow_lock);
  usual_log (level, format, args);
  clock_sleep_us (600000);
  pthread_mutex_unlock (&slow_lock);
}

static void
test_lost_slow_log (void)
{
  char buf[100] = "";

  begin (2, STAGING_MIN, 1000);
  usual_log = log_to;
  log_to = slow_log;
  driver->lose (-1, 719);
  CHECK_EQ (dma_write (queues, vram, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  log_to = usual_log;
  CHECK_EQ (pthread_mutex_trylock (&slow_lock), 0);
  pthread_mutex_unlock (&slow_lock);
  CHECK_EQ (stub_errors_count (), 2);
  end_lost ();
}

/* The GPU does not answer any more.  Neither the thread whose copy hangs nor
 * the threads behind it wait for ever, and these do not call the driver.
 */
static void
test_hung (void)
{
  enum { WAITERS = 4 };
  struct writer writer[WAITERS];

  begin (1, STAGING_MIN, 2000);
  driver->hang (true);
  for (unsigned i = 0; i < WAITERS; ++i)
    start_waiting (&writer[i], i * 100);
  for (unsigned i = 0; i < WAITERS; ++i) {
    pthread_join (writer[i].thread, NULL);
    CHECK_EQ (writer[i].r, -1);
    CHECK_EQ (writer[i].error, EIO);
  }
  /* Requests may fail before the watchdog has logged the reason. */
  while (stub_errors_count () == 0)
    clock_sleep_us (1000);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "gpu-timeout");
  CHECK_EQ (driver->calls ("cuMemcpyHtoDAsync_v2"), 1);
  end_lost ();
}

/* A copy fails while it is in flight, and so does the query whether it has
 * ended.  The GPU counts as lost, because the copy could still overwrite data
 * of the next one.
 */
static void
test_not_known_quiet (void)
{
  char buf[STAGING_MIN] = "";
  unsigned calls;

  begin (1, STAGING_MIN, 20000);
  driver->hang (true);
  driver->fail ("cuEventQuery", 1, UNKNOWN);
  /* cuda_failed makes the first query, which finds the copy in flight. */
  driver->fail ("cuStreamQuery", 2, UNKNOWN);
  errno = 0;
  CHECK_EQ (dma_read (queues, buf, vram, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK (driver->pending () > 0);
  CHECK (cuda_is_lost (&cuda));
  CHECK_HOLDS (stub_errors (), "whether a failed copy has ended");
  calls = driver->calls (NULL);
  CHECK_EQ (dma_write (queues, vram, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (driver->calls (NULL), calls);
  end_lost ();
}

/* Stops all threads of this process for MS milliseconds. */
static void
stop_process (unsigned ms)
{
  char path[64], line[512];
  pid_t child = fork ();

  CHECK (child != -1);
  if (child > 0) {
    kill (getpid (), SIGSTOP);
    waitpid (child, NULL, 0);
    return;
  }
  snprintf (path, sizeof path, "/proc/%d/stat", (int) getppid ());
  do {
    FILE *fp = fopen (path, "r");

    if (fp == NULL || fgets (line, sizeof line, fp) == NULL)
      _exit (1);
    fclose (fp);
  } while (strstr (line, ") T ") == NULL);
  clock_sleep_us (1000 * ms);
  kill (getppid (), SIGCONT);
  _exit (0);
}

/* The process is stopped after so many queries that find work in flight, which
 * a slow machine does before the time limit, too.  When it goes on, the GPU
 * works again.
 */
enum { STOPPED_MS = 2600 };
static atomic_int answers_to_stop;

static void
stop_after_answers (void)
{
  if (atomic_fetch_sub (&answers_to_stop, 1) != 1)
    return;
  stop_process (STOPPED_MS);
  driver->hang (false);
}

/* If the process is stopped for longer than the time limit, right after a
 * query, the GPU does not count as lost.
 */
static void
test_stopped (void)
{
  char buf[100] = "";

  /* During the wait for a copy, which reads the clock after 16 queries. */
  begin (1, STAGING_MIN, STOPPED_MS - 600);
  driver->hang (true);
  atomic_store (&answers_to_stop, 2 * 16);
  driver->on_not_ready (stop_after_answers);
  CHECK_EQ (dma_write (queues, vram, buf, sizeof buf), 0);
  CHECK (atomic_load (&answers_to_stop) <= 0);
  end ();

  /* After a failure, during the wait until the queue has no work. */
  begin (1, STAGING_MIN, STOPPED_MS - 600);
  driver->hang (true);
  driver->fail ("cuEventRecord", 1, UNKNOWN);
  /* cuda_failed makes the first query. */
  atomic_store (&answers_to_stop, 2);
  CHECK_EQ (dma_write (queues, vram, buf, sizeof buf), -1);
  CHECK (atomic_load (&answers_to_stop) <= 0);
  CHECK (!cuda_is_lost (&cuda));
  CHECK_EQ (driver->pending (), 0);
  stub_messages_clear ();
  end ();
}

/* A call into the driver does not return.  Copies that wait for a queue fail,
 * and so do copies inside the driver, which the watchdog interrupts.
 */
static void
test_stuck_call (void)
{
  enum { WAITERS = 5 };
  struct writer writer[WAITERS];
  unsigned calls;

  begin (2, STAGING_MIN, 1000);
  driver->hang_calls ("cuMemcpyHtoDAsync");
  for (unsigned i = 0; i < WAITERS; ++i)
    start_waiting (&writer[i], i * 100);
  CHECK_EQ (driver->calls ("cuMemcpyHtoDAsync_v2"), 2);
  calls = driver->calls (NULL);
  for (unsigned i = 0; i < WAITERS; ++i) {
    pthread_join (writer[i].thread, NULL);
    CHECK_EQ (writer[i].r, -1);
    CHECK_EQ (writer[i].error, EIO);
  }
  CHECK (cuda_is_lost (&cuda));
  while (stub_errors_count () == 0)
    clock_sleep_us (1000);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "the driver has not answered for 1000 ms");
  CHECK_EQ (driver->calls (NULL), calls);
  end_lost ();
}

static void *
write_large (void *arg)
{
  static char data[300 * STAGING_MIN];

  (void) arg;
  CHECK_EQ (dma_write (queues, vram, data, sizeof data), 0);
  return NULL;
}

/* Each piece of a large copy has the whole time limit, so a copy may take
 * longer than that.
 */
static void
test_slow_but_alive (void)
{
  struct writer writer;
  pthread_t thread;
  uint64_t start;

  driver_set ("DELAY", "5000");
  begin (1, STAGING_MIN, 2000);
  start = clock_ms ();
  CHECK_EQ (pthread_create (&thread, NULL, write_large, NULL), 0);
  while (driver->calls ("cuMemcpyHtoDAsync_v2") == 0)
    clock_sleep_us (1000);
  start_waiting (&writer, VRAM - 1);
  pthread_join (thread, NULL);
  CHECK (clock_ms () - start > 2000);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, 0);
  end ();
}

/* A context that cannot be made current counts as lost, unless the error is
 * temporary.
 */
static void
test_cannot_enter (void)
{
  struct writer writer = { .offset = 0 };
  unsigned calls;

  begin (1, STAGING_MIN, 1000);
  driver->fail ("cuCtxSetCurrent", 1, UNKNOWN);
  CHECK_EQ (pthread_create (&writer.thread, NULL, write_one, &writer), 0);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, -1);
  CHECK_EQ (writer.error, EIO);
  CHECK (!cuda_is_lost (&cuda));
  driver->fail ("cuCtxSetCurrent", 0, 201);
  CHECK_EQ (pthread_create (&writer.thread, NULL, write_one, &writer), 0);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, -1);
  CHECK (cuda_is_lost (&cuda));
  calls = driver->calls (NULL);
  CHECK_EQ (pthread_create (&writer.thread, NULL, write_one, &writer), 0);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.error, EIO);
  CHECK_EQ (driver->calls (NULL), calls);
  end_lost ();
}

/* A GPU that answers late, but in time, does not count as lost. */
static void
test_pause (void)
{
  struct writer writer;

  begin (1, STAGING_MIN, 60000);
  driver->hang (true);
  start_waiting (&writer, 5);
  clock_sleep_us (300000);
  driver->hang (false);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, 0);
  end ();
}

/* Each call of the set-up fails once, which is logged, and nothing leaks. */
static void
test_create_fails (void)
{
  static const char *const functions[] = { "cuMemHostAlloc", "cuStreamCreate",
                                           "cuEventCreate" };

  for (unsigned f = 0; f < 3; ++f)
    for (unsigned nth = 1; nth <= (f == 0 ? 1 : 3); ++nth) {
      driver_begin ();
      stub_messages_clear ();
      memset (&cuda, 0, sizeof cuda);
      CHECK_EQ (cuda_open (&cuda, 0), 0);
      driver->fail (functions[f], nth, CUDA_ERROR_OUT_OF_MEMORY);
      CHECK (dma_create (&cuda, 3, STAGING_MIN) == NULL);
      CHECK_EQ (stub_errors_count (), 1);
      CHECK_HOLDS (stub_errors (), "lanes=3");
      cuda_close (&cuda);
      driver_check_freed ();
    }
  stub_messages_clear ();
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN_ALONE (test_pieces);
  RUN_ALONE (test_set);
  RUN_ALONE (test_warm_up);
  RUN_ALONE (test_more_threads_than_queues);
  RUN_ALONE (test_queues_are_exclusive);
  RUN_ALONE (test_failures);
  RUN_ALONE (test_no_flood);
  RUN_ALONE (test_lost);
  RUN_ALONE (test_lost_slow_log);
  RUN_ALONE (test_hung);
  RUN_ALONE (test_not_known_quiet);
  RUN_ALONE (test_stopped);
  RUN_ALONE (test_stuck_call);
  RUN_ALONE (test_slow_but_alive);
  RUN_ALONE (test_cannot_enter);
  RUN_ALONE (test_pause);
  RUN_ALONE (test_create_fails);
  return check_end ();
}
