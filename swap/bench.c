/* nbdkit-vram: vram-swap bench, VRAM beside the machine's other swaps
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Only our own device is ever written, and only while no swap is on it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"
#include "capacity.h"
#include "msg.h"
#include "options.h"
#include "run.h"
#include "service.h"
#include "swaps.h"

#define PAGE      4096
#define MIB       (1 << 20)
#define AREA      (INT64_C (512) * MIB) /* of each device that is used */
#define RUN_MS    3000
#define SINGLES   8 /* requests, one a second */
#define MAX_DEPTH 32
#define MAX_TIMES (1 << 18)
#define MAX_ROWS  16
#define BAR_WIDTH 30

/* What one job gives; 0 where it was not run. */
struct result {
  double per_second; /* requests */
  double p50, p99;   /* microseconds */
};

struct row {
  char name[64];
  bool ours;
  struct result single, deep_read, deep_write, seq_read, seq_write;
};

struct job {
  const char *path;
  int64_t area;
  size_t block;
  unsigned depth;
  bool out;
  bool random;
};

struct worker {
  pthread_t thread;
  const struct job *job;
  unsigned index;
  int err;
  size_t n;
  uint32_t *ns; /* times of its requests, at most MAX_TIMES / depth of them */
};

static atomic_bool job_over;

static int64_t
now_ns (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * INT64_C (1000000000) + ts.tv_nsec;
}

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* One request at OFFSET; its nanoseconds, or -1 with errno. */
static int64_t
request (int fd, unsigned char *buf, const struct job *job, int64_t offset)
{
  int64_t start = now_ns ();
  ssize_t r = job->out ? pwrite (fd, buf, job->block, offset)
                       : pread (fd, buf, job->block, offset);

  if (r != (ssize_t) job->block) {
    if (r >= 0)
      errno = EIO;
    return -1;
  }
  return now_ns () - start;
}

static int
open_for (const struct job *job)
{
  return open (job->path,
               (job->out ? O_RDWR | O_EXCL : O_RDONLY) | O_DIRECT | O_CLOEXEC);
}

static void *
work (void *opaque)
{
  struct worker *w = opaque;
  const struct job *job = w->job;
  uint64_t random = UINT64_C (0x9e3779b97f4a7c15) * (w->index + 1);
  int64_t blocks = job->area / job->block, ns;
  int64_t at = blocks / job->depth * w->index;
  unsigned char *buf = NULL;
  int fd =
      open (job->path, (job->out ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);

  if (fd == -1 ||
      (errno = posix_memalign ((void **) &buf, PAGE, job->block)) != 0) {
    w->err = errno;
    goto out;
  }
  /* Not zeros, which a server may store as nothing. */
  for (size_t i = 0; i < job->block; i++)
    buf[i] = next_random (&random);
  while (!atomic_load_explicit (&job_over, memory_order_relaxed)) {
    if (job->random)
      at = next_random (&random) % blocks;
    ns = request (fd, buf, job, at * job->block);
    if (ns == -1) {
      w->err = errno;
      break;
    }
    w->ns[w->n++ % (MAX_TIMES / job->depth)] =
        ns > UINT32_MAX ? UINT32_MAX : ns;
    at = (at + 1) % blocks;
  }
out:
  if (fd != -1)
    close (fd);
  free (buf);
  return NULL;
}

static int
by_time (const void *a, const void *b)
{
  const uint32_t *left = a, *right = b;

  return (*left > *right) - (*left < *right);
}

static void
summarize (struct result *r, uint32_t *ns, size_t n)
{
  size_t middle, high;

  if (n == 0)
    return;
  qsort (ns, n, sizeof *ns, by_time);
  middle = n / 2;
  high = n - 1 - n / 100;
  r->p50 = ns[middle] / 1e3;
  r->p99 = ns[high] / 1e3;
}

/* As many threads as the job is deep, for a few seconds. */
static int
run_job (const struct job *job, struct result *result)
{
  static uint32_t times[MAX_TIMES];
  struct worker workers[MAX_DEPTH] = { 0 };
  const size_t each = MAX_TIMES / job->depth;
  unsigned started = 0;
  int64_t start = now_ns (), ns;
  size_t kept = 0, done = 0;
  int err = 0;

  atomic_store (&job_over, false);
  for (; started < job->depth && err == 0; started++) {
    struct worker *w = &workers[started];

    *w = (struct worker){ .job = job,
                          .index = started,
                          .ns = times + started * each };
    err = pthread_create (&w->thread, NULL, work, w);
    if (err)
      break;
  }
  if (err == 0)
    pause_ms (RUN_MS);
  atomic_store (&job_over, true);
  for (unsigned i = 0; i < started; i++)
    pthread_join (workers[i].thread, NULL);
  ns = now_ns () - start;

  for (unsigned i = 0; i < started; i++) {
    size_t n = workers[i].n < each ? workers[i].n : each;

    if (workers[i].err)
      err = workers[i].err;
    memmove (times + kept, workers[i].ns, n * sizeof *times);
    kept += n;
    done += workers[i].n;
  }
  if (err) {
    error ("%s: %s", job->path, strerror (err));
    return -1;
  }
  result->per_second = done * 1e9 / ns;
  summarize (result, times, kept);
  return interrupted () ? -1 : 0;
}

/* A request a second: how page faults come on a machine that is mostly idle. */
static int
run_singles (const struct job *job, struct result *result)
{
  static unsigned char buf[PAGE] __attribute__ ((aligned (PAGE)));
  uint32_t times[SINGLES];
  uint64_t random = UINT64_C (0x2545f4914f6cdd1d);
  int64_t ns = 0;
  int fd = open_for (job);

  if (fd == -1)
    goto err;
  for (unsigned i = 0; i < SINGLES; i++) {
    if (!pause_ms (1000))
      goto err;
    ns = request (fd, buf, job,
                  next_random (&random) % (job->area / PAGE) * PAGE);
    if (ns == -1)
      goto err;
    times[i] = ns > UINT32_MAX ? UINT32_MAX : ns;
  }
  summarize (result, times, SINGLES);
  close (fd);
  return 0;

err:
  if (!interrupted ())
    error ("%s: %m", job->path);
  if (fd != -1)
    close (fd);
  return -1;
}

static int
measure (struct row *row, const char *path, int64_t area)
{
  struct job deep = { path, area, PAGE, MAX_DEPTH, false, true };
  struct job seq = { path, area, MIB, 4, false, false };
  struct job single = { path, area, PAGE, 1, false, true };

  note ("measuring %s%s", row->name, row->ours ? "" : ", reading only");
  if (row->ours) {
    /* First of all: what has never been written is not read from VRAM. */
    seq.out = deep.out = true;
    if (run_job (&seq, &row->seq_write) == -1 ||
        run_job (&deep, &row->deep_write) == -1)
      return -1;
    seq.out = deep.out = false;
  }
  if (run_job (&deep, &row->deep_read) == -1 ||
      run_job (&seq, &row->seq_read) == -1 ||
      run_singles (&single, &row->single) == -1)
    return -1;
  return 0;
}

static void
print_result (const struct row *rows, size_t n)
{
  double most = 1, longest = 1;

  printf ("\n%-20s %14s %22s %22s %10s %10s\n", "", "4K read, 1/s",
          "4K read, depth 32", "4K write, depth 32", "seq read", "seq write");
  printf ("%-20s %14s %22s %22s %10s %10s\n", "", "p50 us", "IOPS, p50/p99 us",
          "IOPS, p50/p99 us", "MB/s", "MB/s");
  for (size_t i = 0; i < n; i++) {
    const struct row *r = &rows[i];

    printf ("%-20s %14.0f %10.0f %5.0f/%5.0f", r->name, r->single.p50,
            r->deep_read.per_second, r->deep_read.p50, r->deep_read.p99);
    if (r->ours)
      printf (" %10.0f %5.0f/%5.0f", r->deep_write.per_second,
              r->deep_write.p50, r->deep_write.p99);
    else
      printf (" %22s", "-");
    printf (" %10.0f", r->seq_read.per_second * MIB / 1e6);
    if (r->ours)
      printf (" %10.0f\n", r->seq_write.per_second * MIB / 1e6);
    else
      printf (" %10s\n", "-");
    if (r->single.p50 > longest)
      longest = r->single.p50;
    if (r->deep_read.per_second > most)
      most = r->deep_read.per_second;
  }

  printf ("\none 4K read a second, p50 (shorter is better)\n");
  for (size_t i = 0; i < n; i++)
    printf ("%-20s %-*.*s %.0f us\n", rows[i].name, BAR_WIDTH,
            (int) (rows[i].single.p50 / longest * BAR_WIDTH + 0.5),
            "##############################", rows[i].single.p50);
  printf ("\n4K reads at depth 32 a second (longer is better)\n");
  for (size_t i = 0; i < n; i++)
    printf ("%-20s %-*.*s %.0f\n", rows[i].name, BAR_WIDTH,
            (int) (rows[i].deep_read.per_second / most * BAR_WIDTH + 0.5),
            "##############################", rows[i].deep_read.per_second);
}

int
cmd_bench (struct options *o)
{
  int status = EXIT_FAILED, lock = service_lock (&o->conf, 10);
  struct row rows[MAX_ROWS] = { 0 };
  struct attachment a;
  struct state st;
  struct swaps s;
  size_t n = 1;

  if (lock == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  state_read (&st);
  if (attach_for_test (&o->conf, &st, &a) == -1)
    goto out;

  snprintf (rows[0].name, sizeof rows[0].name, "VRAM %s", a.path);
  rows[0].ours = true;
  if (measure (&rows[0], a.path,
               a.server.size < AREA ? a.server.size / MIB * MIB : AREA) ==
          -1 ||
      swaps_read (&s) == -1)
    goto detach;
  for (size_t i = 0; i < s.n && n < MAX_ROWS; i++) {
    const char *path = s.swap[i].path;

    /* An empty zram page is read from nowhere: no figure for memory. */
    if (strncmp (path, "/dev/zram", 9) == 0) {
      note ("%s is left out: what it has not stored costs nothing to read",
            path);
      continue;
    }
    snprintf (rows[n].name, sizeof rows[n].name, "%s", path);
    if (measure (&rows[n], path,
                 s.swap[i].size < AREA ? s.swap[i].size / MIB * MIB : AREA) ==
        0)
      n++;
    if (interrupted ())
      goto detach;
  }
  print_result (rows, n);
  status = EXIT_OK;

detach:
  finish_undisturbed ();
  if (attach_down (&st, &a) == -1)
    status = EXIT_FAILED;
out:
  close (lock);
  if (status != EXIT_OK && was_interrupted ())
    status = EXIT_INTERRUPTED;
  return status;
}
