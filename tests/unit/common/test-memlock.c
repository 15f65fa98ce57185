/* nbdkit-vram: tests of memory locking, and of the heap for threads that serve
 * requests
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "nbdkit-stubs.h"
#include "common/memlock.h"
#include "common/units.h"

#define EARLY   4
#define WORKERS 8

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

struct treatment {
  int flusher, nice;
};

static pthread_barrier_t barrier;
static char *heap; /* its beginning */
static atomic_uint outside;

/* Like a thread of the driver, it begins before the memory is locked. */
static void *
allocate_early (void *arg)
{
  void *p = malloc (1000);

  CHECK (p != NULL);
  pthread_barrier_wait (&barrier);
  pthread_barrier_wait (&barrier);
  free (p);
  return arg;
}

/* Like a thread of nbdkit, it begins when a client connects. */
static void *
allocate_buffer (void *arg)
{
  char *p = malloc (300 * KiB);

  CHECK (p != NULL);
  if (p < heap || p >= (char *) sbrk (0))
    atomic_fetch_add (&outside, 1);
  pthread_barrier_wait (&barrier);
  free (p);
  return arg;
}

/* The heap is reserved where threads allocate, also if other threads have
 * allocated before.
 */
static void
test_one_heap (void)
{
  pthread_t early[EARLY], worker[WORKERS];
  char *before, *after;

  heap = malloc (1);
  CHECK (heap != NULL);
  CHECK_EQ (memlock_prepare (MEMLOCK_AUTO), 0);
  CHECK_EQ (pthread_barrier_init (&barrier, NULL, EARLY + 1), 0);
  for (unsigned i = 0; i < EARLY; ++i)
    CHECK_EQ (pthread_create (&early[i], NULL, allocate_early, NULL), 0);
  pthread_barrier_wait (&barrier);
  before = sbrk (0);
  CHECK_EQ (memlock_all (MEMLOCK_AUTO), 0);
  after = sbrk (0);
  CHECK (after - before >= (ptrdiff_t) (7 * MiB));
  pthread_barrier_wait (&barrier);
  for (unsigned i = 0; i < EARLY; ++i)
    pthread_join (early[i], NULL);
  pthread_barrier_destroy (&barrier);

  CHECK_EQ (pthread_barrier_init (&barrier, NULL, WORKERS), 0);
  for (unsigned i = 0; i < WORKERS; ++i)
    CHECK_EQ (pthread_create (&worker[i], NULL, allocate_buffer, NULL), 0);
  for (unsigned i = 0; i < WORKERS; ++i)
    pthread_join (worker[i], NULL);
  pthread_barrier_destroy (&barrier);
  CHECK_EQ (atomic_load (&outside), 0);
  CHECK ((char *) sbrk (0) == after);
  free (heap);
  stub_messages_clear ();
}

/* The kernel's flag of each thread.  Setting it needs CAP_SYS_RESOURCE. */
static _Thread_local int flusher;

int
prctl (int option, ...)
{
  va_list args;
  int value;

  va_start (args, option);
  value = va_arg (args, int);
  va_end (args);
  if (option == PR_GET_IO_FLUSHER)
    return flusher;
  CHECK_EQ (option, PR_SET_IO_FLUSHER);
  flusher = value;
  return 0;
}

/* A thread whose protection a library, or another program, has removed: ARG
 * says which.
 */
static void *
serve_treated (void *arg)
{
  const struct treatment *treatment = arg;

  flusher = treatment->flusher;
  if (treatment->nice > 0)
    CHECK_EQ (setpriority (PRIO_PROCESS, 0, treatment->nice), 0);
  memlock_check_thread ();
  CHECK_EQ (flusher, 1);
  return NULL;
}

static void
serve (int new_flusher, int nice)
{
  struct treatment treatment = { new_flusher, nice };
  pthread_t thread;

  stub_messages_clear ();
  CHECK_EQ (pthread_create (&thread, NULL, serve_treated, &treatment), 0);
  pthread_join (thread, NULL);
}

static void
test_threads (void)
{
  char words[80];
  /* The suite may run under nice. */
  const int before = getpriority (PRIO_PROCESS, 0);

  if (before > 17) {
    printf ("test_threads: skipped, the nice value cannot be raised twice\n");
    return;
  }
  flusher = 0;
  CHECK_EQ (memlock_prepare (MEMLOCK_AUTO), 0);
  CHECK_EQ (flusher, 1);
  serve (1, 0);
  CHECK_EQ (stub_errors_count (), 0);
  serve (0, 0);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "warning: PR_SET_IO_FLUSHER of a thread was "
                               "cleared by a library, and set again");
  serve (0, 0);
  CHECK_EQ (stub_errors_count (), 0);

  serve (1, before + 1);
  CHECK_EQ (stub_errors_count (), 1);
  snprintf (words, sizeof words,
            "warning: this process runs with nice value "
            "%d, ",
            before + 1);
  CHECK_HOLDS (stub_errors (), words);
  CHECK_HOLDS (stub_errors (), "another program");
  serve (1, before + 1);
  CHECK_EQ (stub_errors_count (), 0);
  serve (1, before + 2);
  CHECK_EQ (stub_errors_count (), 1);
  stub_messages_clear ();
}

/* Raising the score needs no capability, nor does lowering it again, unless a
 * privileged process has raised it.
 */
static bool
set_score (const char *score)
{
  FILE *fp = fopen ("/proc/self/oom_score_adj", "we");

  CHECK (fp != NULL);
  fputs (score, fp);
  return fclose (fp) == 0;
}

/* A child has no protection, also none that this process had from the start,
 * as from the daemon.
 */
static void
test_child (void)
{
  char score[16] = "";
  int fds[2], status;
  FILE *fp;
  pid_t pid;

  if (!set_score ("500") || !set_score ("0") || !set_score ("500")) {
    printf ("test_child: skipped, the OOM score cannot be changed\n");
    return;
  }
  CHECK_EQ (pipe (fds), 0);
  flusher = 1;
  CHECK_EQ (memlock_prepare (MEMLOCK_AUTO), 0);
  CHECK_EQ (flusher, 1);
  pid = fork ();
  if (pid == 0) {
    memlock_undo ();
    fp = fopen ("/proc/self/oom_score_adj", "re");
    if (fp == NULL || fgets (score, sizeof score, fp) == NULL ||
        write (fds[1], score, sizeof score) != sizeof score)
      _exit (2);
    _exit (flusher);
  }
  CHECK_EQ (waitpid (pid, &status, 0), pid);
  CHECK_EQ (WEXITSTATUS (status), 0);
  CHECK_EQ (read (fds[0], score, sizeof score), (ssize_t) sizeof score);
  CHECK_STR (score, "0\n");
  close (fds[0]);
  close (fds[1]);
  CHECK (set_score ("0"));
  stub_messages_clear ();
}

int
main (int argc, char *argv[])
{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
  const bool own_malloc = false;
#else
  const bool own_malloc = getenv ("VRAM_VALGRIND") == NULL;
#endif

  check_begin (argc, argv);
  RUN (test_child);
  RUN (test_threads);
  if (own_malloc)
    RUN (test_one_heap);
  else
    printf ("test_one_heap: skipped, malloc is not glibc's here\n");
  return check_end ();
}
