/* nbdkit-vram: tests of the pool of lanes, on a driver that is as late as it can be
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "common/log.h"
#include "fake-cuda.h"
#include "gpu/cuda/dma.h"
#include "nbdkit-stubs.h"
#include "watchdog.h"

#define UNKNOWN CUDA_ERROR_UNKNOWN

static struct cuda cuda;
static struct dma_queues *lanes;

static void
begin (unsigned count, size_t staging, unsigned timeout_ms)
{
  fake_begin ();
  stub_messages_clear ();
  memset (&cuda, 0, sizeof cuda);
  CHECK_EQ (watchdog_start (timeout_ms, NULL), 0);
  CHECK_EQ (cuda_open (&cuda, 0), 0);
  lanes = dma_create (&cuda, count, staging);
  CHECK (lanes != NULL);
}

static void
end (void)
{
  dma_free (lanes);
  cuda_close (&cuda);
  watchdog_stop ();
  fake_check_freed ();
  CHECK_EQ (stub_errors_count (), 0);
}

/* The end of a context that was lost: what the driver has stays with it. */
static void
end_lost (void)
{
  unsigned calls = fake_calls ();

  CHECK (cuda_is_lost (&cuda));
  dma_free (lanes);
  cuda_close (&cuda);
  CHECK_EQ (fake_calls (), calls);
}

static void
fill (struct rnd *rnd, unsigned char *buf, size_t count)
{
  for (size_t i = 0; i < count; ++i)
    buf[i] = (unsigned char) rnd_next (rnd);
}

/* Write COUNT random bytes to OFFSET and read them back; the bytes around stay
 * as they were.
 */
static void
round_trip (struct rnd *rnd, uint64_t offset, size_t count)
{
  enum { AROUND = 64 };
  unsigned char *data = calloc (1, count), *back = calloc (1, count);
  unsigned char around[2][AROUND];

  CHECK (data != NULL && back != NULL);
  fill (rnd, data, count);
  memcpy (around[0], fake_vram + offset - AROUND, AROUND);
  memcpy (around[1], fake_vram + offset + count, AROUND);
  CHECK_EQ (dma_write (lanes, FAKE_BASE + offset, data, count), 0);
  CHECK (memcmp (fake_vram + offset, data, count) == 0);
  CHECK (memcmp (around[0], fake_vram + offset - AROUND, AROUND) == 0);
  CHECK (memcmp (around[1], fake_vram + offset + count, AROUND) == 0);
  memset (back, 0, count);
  CHECK_EQ (dma_read (lanes, back, FAKE_BASE + offset, count), 0);
  CHECK (memcmp (back, data, count) == 0);
  CHECK_EQ (fake_pending (), 0);
  free (data);
  free (back);
}

/* Pieces: less than one, exactly so many, a byte more or less. */
static void
test_pieces (void)
{
  static const size_t stagings[] = { STAGING_MIN, 64 * 1024 };
  struct rnd rnd;

  rnd_begin (&rnd, 1);
  for (unsigned s = 0; s < 2; ++s) {
    size_t half = stagings[s] / 2;

    begin (2, stagings[s], 20000);
    fill (&rnd, fake_vram, sizeof fake_vram);
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
  begin (1, STAGING_MIN, 20000);
  memset (fake_vram, 1, 100000);
  CHECK_EQ (dma_set (lanes, FAKE_BASE + 5000, 0, 70001), 0);
  for (unsigned i = 0; i < 100000; ++i)
    CHECK_EQ (fake_vram[i], i < 5000 || i >= 75001);
  end ();
}

/* Both ways, on every lane. */
static void
test_warm_up (void)
{
  begin (5, STAGING_MIN, 20000);
  CHECK_EQ (dma_warm_up (lanes, FAKE_BASE), 0);
  CHECK_EQ (atomic_load (&fake.calls[FN_memcpy_htod_async]), 10);
  CHECK_EQ (atomic_load (&fake.calls[FN_memcpy_dtoh_async]), 10);
  end ();
}

/* ---- Threads ---- */

#define THREADS 8
#define REGION  (FAKE_VRAM / THREADS)

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
    CHECK_EQ (dma_write (lanes, FAKE_BASE + offset, data, count), 0);
    CHECK_EQ (dma_read (lanes, back, FAKE_BASE + offset, count), 0);
    CHECK (memcmp (back, data, count) == 0);
  }
  return NULL;
}

static void
test_more_threads_than_lanes (void)
{
  static const unsigned counts[] = { 1, 2, 3, DMA_QUEUES_MAX };
  pthread_t thread[THREADS];

  for (unsigned c = 0; c < 4; ++c) {
    begin (counts[c], STAGING_MIN, 20000);
    for (uintptr_t i = 0; i < THREADS; ++i)
      CHECK_EQ (pthread_create (&thread[i], NULL, copier, (void *) i), 0);
    for (unsigned i = 0; i < THREADS; ++i)
      pthread_join (thread[i], NULL);
    CHECK (atomic_load (&fake.most_busy) <= counts[c]);
    CHECK_EQ (fake_pending (), 0);
    end ();
  }
}

/* Copies so small that the threads do little but take lanes. */
static void *
take_lanes (void *arg)
{
  uint64_t offset = (uint64_t) (uintptr_t) arg * REGION;
  uint64_t until = clock_ms () + 1500;

  for (unsigned i = 0; i < check_effort (50000) && clock_ms () < until; ++i) {
    char byte = (char) i, back = (char) (i + 1);

    CHECK_EQ (dma_write (lanes, FAKE_BASE + offset, &byte, 1), 0);
    CHECK_EQ (dma_read (lanes, &back, FAKE_BASE + offset, 1), 0);
    CHECK_EQ (back, byte);
  }
  return NULL;
}

static void
test_lanes_are_exclusive (void)
{
  /* Fewer lanes than threads, and more: only then nobody waits. */
  static const unsigned counts[] = { 3, THREADS + 2 };
  pthread_t thread[THREADS];

  for (unsigned c = 0; c < 2; ++c) {
    begin (counts[c], STAGING_MIN, 20000);
    for (uintptr_t i = 0; i < THREADS; ++i)
      CHECK_EQ (pthread_create (&thread[i], NULL, take_lanes, (void *) i), 0);
    for (unsigned i = 0; i < THREADS; ++i)
      pthread_join (thread[i], NULL);
    CHECK (atomic_load (&fake.most_busy) <= counts[c]);
    end ();
  }
}

/* A thread that writes one byte to its own place. */
struct writer {
  pthread_t thread;
  atomic_int tid; /* when it is about to write */
  uint64_t offset;
  int r, error;
};

static void *
write_one (void *arg)
{
  struct writer *writer = arg;
  char byte = 1;

  atomic_store (&writer->tid, (int) syscall (SYS_gettid));
  writer->r = dma_write (lanes, FAKE_BASE + writer->offset, &byte, 1);
  writer->error = errno;
  return NULL;
}

/* Whether a thread of this process sleeps, or has ended: on a machine that is
 * busy enough it may have been told the end of its wait by now.
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

/* Start a writer and return when it waits, for a lane or for the GPU. */
static void
start_waiting (struct writer *writer, uint64_t offset)
{
  unsigned calm = 0;

  atomic_store (&writer->tid, 0);
  writer->offset = offset;
  CHECK_EQ (pthread_create (&writer->thread, NULL, write_one, writer), 0);
  /* Asleep each of several times that are apart: not on its way. */
  while (calm < 5) {
    clock_sleep_us (1000);
    if (atomic_load (&writer->tid) && sleeps (atomic_load (&writer->tid)))
      ++calm;
    else
      calm = 0;
  }
}

/* ---- Failures ---- */

/* The call FN fails the NTH time during a copy of five pieces: EIO, a quiet
 * lane, and the next copies are right.
 */
static void
fail_once (struct rnd *rnd, enum fake_function fn, int nth, bool write)
{
  enum { COUNT = 5 * STAGING_MIN / 2 - 7 };
  static unsigned char data[COUNT], old[COUNT];
  int r;

  begin (1, STAGING_MIN, 20000);
  fill (rnd, data, COUNT);
  fill (rnd, fake_vram, 100000);
  memcpy (old, fake_vram + 100, COUNT);
  fake_fail (fn, nth, UNKNOWN);
  errno = 0;
  r = write ? dma_write (lanes, FAKE_BASE + 100, data, COUNT)
            : dma_read (lanes, data, FAKE_BASE + 100, COUNT);
  if (atomic_load (&fake.fail[fn].nth) > 0) {
    /* So many calls were not needed. */
    CHECK_EQ (r, 0);
    atomic_store (&fake.fail[fn].nth, 0);
  }
  else {
    CHECK_EQ (r, -1);
    CHECK_EQ (errno, EIO);
    CHECK_EQ (stub_errors_count (), 1);
    CHECK_HOLDS (stub_errors (), write ? "copy to VRAM" : "copy from VRAM");
    stub_messages_clear ();
  }
  CHECK (!cuda_is_lost (&cuda));
  /* Whoever has the lane next must not find copies under way in it. */
  CHECK_EQ (fake_pending (), 0);
  if (write)
    for (unsigned i = 0; i < COUNT; ++i)
      CHECK (fake_vram[100 + i] == old[i] || fake_vram[100 + i] == data[i]);
  round_trip (rnd, 30000, COUNT);
  round_trip (rnd, 100, 17);
  end ();
}

static void
test_failures (void)
{
  struct rnd rnd;

  rnd_begin (&rnd, 3);
  for (int nth = 1; nth <= 12; ++nth)
    for (int write = 0; write <= 1; ++write) {
      fail_once (&rnd, write ? FN_memcpy_htod_async : FN_memcpy_dtoh_async,
                 nth, write);
      fail_once (&rnd, FN_event_record, nth, write);
      fail_once (&rnd, FN_event_query, nth, write);
    }
}

/* A kind of error is logged once, however many requests it fails. */
static void
test_no_flood (void)
{
  char byte = 1;

  begin (2, STAGING_MIN, 20000);
  for (unsigned i = 0; i < 50; ++i) {
    fake_fail (FN_memcpy_htod_async, 1, UNKNOWN);
    CHECK_EQ (dma_write (lanes, FAKE_BASE, &byte, 1), -1);
  }
  CHECK_EQ (stub_errors_count (), 1);
  fake_fail (FN_memcpy_htod_async, 1, 700);
  CHECK_EQ (dma_write (lanes, FAKE_BASE, &byte, 1), -1);
  CHECK_EQ (stub_errors_count (), 2);
  stub_messages_clear ();
  end ();
}

/* The context is lost: an error that every call answers. */
static void
test_lost (void)
{
  char buf[100] = "";
  unsigned calls;

  begin (2, STAGING_MIN, 20000);
  atomic_store (&fake.lost, 719);
  CHECK_EQ (dma_write (lanes, FAKE_BASE, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK (cuda_is_lost (&cuda));
  CHECK_EQ (stub_errors_count (), 2);
  CHECK_HOLDS (stub_errors (), "the GPU is lost");
  calls = fake_calls ();
  errno = 0;
  CHECK_EQ (dma_read (lanes, buf, FAKE_BASE, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  errno = 0;
  CHECK_EQ (dma_set (lanes, FAKE_BASE, 0, 4096), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (fake_calls (), calls);
  CHECK_EQ (stub_errors_count (), 2);
  end_lost ();
  atomic_store (&fake.lost, 0);
}

/* A thread that is in the log when the GPU is lost must leave it by itself. */
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
  atomic_store (&fake.lost, 719);
  CHECK_EQ (dma_write (lanes, FAKE_BASE, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  log_to = usual_log;
  CHECK_EQ (pthread_mutex_trylock (&slow_lock), 0);
  pthread_mutex_unlock (&slow_lock);
  CHECK_EQ (stub_errors_count (), 2);
  end_lost ();
  atomic_store (&fake.lost, 0);
}

/* The GPU stops answering: nobody waits for ever, neither the one whose copy
 * it is nor those behind, and these do not ask the driver any more.
 */
static void
test_hung (void)
{
  enum { WAITERS = 4 };
  struct writer writer[WAITERS];

  begin (1, STAGING_MIN, 2000);
  atomic_store (&fake.hung, true);
  for (unsigned i = 0; i < WAITERS; ++i)
    start_waiting (&writer[i], i * 100);
  for (unsigned i = 0; i < WAITERS; ++i) {
    pthread_join (writer[i].thread, NULL);
    CHECK_EQ (writer[i].r, -1);
    CHECK_EQ (writer[i].error, EIO);
  }
  /* Requests fail before the watchdog has written why. */
  while (stub_errors_count () == 0)
    clock_sleep_us (1000);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "gpu-timeout");
  CHECK_EQ (atomic_load (&fake.calls[FN_memcpy_htod_async]), 1);
  end_lost ();
  atomic_store (&fake.hung, false);
}

/* A copy fails while it is still under way, and so does the question whether it
 * has ended: what it has yet to do would be done to the next one's bytes.
 */
static void
test_not_known_quiet (void)
{
  char buf[STAGING_MIN] = "";
  unsigned calls;

  begin (1, STAGING_MIN, 20000);
  atomic_store (&fake.hung, true);
  fake_fail (FN_event_query, 1, UNKNOWN);
  /* The first query is cuda_failed's, and says that the copy is under way. */
  fake_fail (FN_stream_query, 2, UNKNOWN);
  errno = 0;
  CHECK_EQ (dma_read (lanes, buf, FAKE_BASE, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK (fake_pending () > 0);
  CHECK (cuda_is_lost (&cuda));
  CHECK_HOLDS (stub_errors (), "whether a failed copy has ended");
  calls = fake_calls ();
  CHECK_EQ (dma_write (lanes, FAKE_BASE, buf, sizeof buf), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (fake_calls (), calls);
  end_lost ();
}

/* The process is stopped for longer than the GPU may take to answer, right after
 * it has asked the GPU: no reason to give that up.
 */
static void
test_stopped (void)
{
  char buf[100] = "";

  /* In the wait for a copy: the clock is looked at after each 16th question. */
  begin (1, STAGING_MIN, 200);
  atomic_store (&fake.hung, true);
  fake.stop.ms = 600;
  atomic_store (&fake.stop.nth, 64 * 16);
  CHECK_EQ (dma_write (lanes, FAKE_BASE, buf, sizeof buf), 0);
  CHECK_EQ (atomic_load (&fake.stop.nth), 0);
  end ();

  /* And after a failure, when the lane is to become quiet. */
  begin (1, STAGING_MIN, 200);
  atomic_store (&fake.hung, true);
  fake.stop.ms = 600;
  fake_fail (FN_event_record, 1, UNKNOWN);
  /* The first answer is cuda_failed's. */
  atomic_store (&fake.stop.nth, 2);
  CHECK_EQ (dma_write (lanes, FAKE_BASE, buf, sizeof buf), -1);
  CHECK_EQ (atomic_load (&fake.stop.nth), 0);
  CHECK (!cuda_is_lost (&cuda));
  CHECK_EQ (fake_pending (), 0);
  stub_messages_clear ();
  end ();
}

/* A call into the driver does not return: the copies that wait for a queue fail,
 * and so do those that are inside, which the watchdog takes out of the driver.
 */
static void
test_stuck_call (void)
{
  enum { WAITERS = 5 };
  struct writer writer[WAITERS];
  unsigned calls;

  begin (2, STAGING_MIN, 1000);
  atomic_store (&fake.stuck[FN_memcpy_htod_async], true);
  for (unsigned i = 0; i < WAITERS; ++i)
    start_waiting (&writer[i], i * 100);
  CHECK_EQ (atomic_load (&fake.inside), 2);
  calls = fake_calls ();
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
  CHECK_EQ (fake_calls (), calls);
  end_lost ();
}

static void *
write_large (void *arg)
{
  static char data[300 * STAGING_MIN];

  (void) arg;
  CHECK_EQ (dma_write (lanes, FAKE_BASE, data, sizeof data), 0);
  return NULL;
}

/* A lane that is busy for longer than the time limit, but gets on, is waited
 * for: each piece of a large copy has the whole limit.
 */
static void
test_slow_but_alive (void)
{
  struct writer writer;
  pthread_t thread;
  uint64_t start;

  begin (1, STAGING_MIN, 400);
  fake.slow_us = 5000;
  start = clock_ms ();
  CHECK_EQ (pthread_create (&thread, NULL, write_large, NULL), 0);
  while (atomic_load (&fake.writes) == 0)
    clock_sleep_us (1000);
  start_waiting (&writer, sizeof fake_vram - 1);
  pthread_join (thread, NULL);
  CHECK (clock_ms () - start > 1000);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, 0);
  end ();
}

/* A context that cannot be made current is lost, unless that passes: every other
 * thread would go on asking for it.
 */
static void
test_cannot_enter (void)
{
  struct writer writer = { .offset = 0 };
  unsigned calls;

  begin (1, STAGING_MIN, 1000);
  fake_fail (FN_ctx_set_current, 1, UNKNOWN);
  CHECK_EQ (pthread_create (&writer.thread, NULL, write_one, &writer), 0);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, -1);
  CHECK_EQ (writer.error, EIO);
  CHECK (!cuda_is_lost (&cuda));
  atomic_store (&fake.lost, 201);
  CHECK_EQ (pthread_create (&writer.thread, NULL, write_one, &writer), 0);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, -1);
  CHECK (cuda_is_lost (&cuda));
  calls = fake_calls ();
  CHECK_EQ (pthread_create (&writer.thread, NULL, write_one, &writer), 0);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.error, EIO);
  CHECK_EQ (fake_calls (), calls);
  end_lost ();
  atomic_store (&fake.lost, 0);
}

/* A GPU that answers late, but in time, is waited for. */
static void
test_pause (void)
{
  struct writer writer;

  begin (1, STAGING_MIN, 60000);
  atomic_store (&fake.hung, true);
  start_waiting (&writer, 5);
  clock_sleep_us (300000);
  atomic_store (&fake.hung, false);
  pthread_join (writer.thread, NULL);
  CHECK_EQ (writer.r, 0);
  end ();
}

/* Every call of set-up fails once: a message, and nothing is left. */
static void
test_create_fails (void)
{
  static const enum fake_function functions[] = { FN_mem_host_alloc,
                                                  FN_stream_create,
                                                  FN_event_create };

  for (unsigned f = 0; f < 3; ++f)
    for (int nth = 1; nth <= (f == 0 ? 1 : 3); ++nth) {
      fake_begin ();
      stub_messages_clear ();
      memset (&cuda, 0, sizeof cuda);
      CHECK_EQ (cuda_open (&cuda, 0), 0);
      fake_fail (functions[f], nth, CUDA_ERROR_OUT_OF_MEMORY);
      CHECK (dma_create (&cuda, 3, STAGING_MIN) == NULL);
      CHECK_EQ (stub_errors_count (), 1);
      CHECK_HOLDS (stub_errors (), "lanes=3");
      cuda_close (&cuda);
      fake_check_freed ();
    }
  stub_messages_clear ();
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_pieces);
  RUN (test_set);
  RUN (test_warm_up);
  RUN (test_more_threads_than_lanes);
  RUN (test_lanes_are_exclusive);
  RUN (test_failures);
  RUN (test_no_flood);
  RUN (test_lost);
  RUN (test_lost_slow_log);
  RUN (test_hung);
  RUN (test_not_known_quiet);
  RUN (test_stopped);
  RUN (test_stuck_call);
  RUN (test_slow_but_alive);
  RUN (test_cannot_enter);
  RUN (test_pause);
  RUN (test_create_fails);
  return check_end ();
}
