/* nbdkit-vram: tests of the memory that is set aside for threads that serve requests
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "nbdkit-stubs.h"
#include "common/memlock.h"
#include "common/units.h"

#define EARLY   4
#define WORKERS 8

static pthread_barrier_t barrier;
static char *heap; /* where it begins */
static atomic_uint outside;

/* As the driver's threads do: there before the memory is locked. */
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

/* As nbdkit's do: there when a client is. */
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

/* What is set aside is set aside where threads allocate, also when others have
 * done so before.
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

int
main (int argc, char *argv[])
{
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
  const bool own_malloc = false;
#else
  const bool own_malloc = getenv ("VRAM_VALGRIND") == NULL;
#endif

  if (!own_malloc) {
    printf ("skipped: malloc is not glibc's here\n");
    return 77;
  }
  check_begin (argc, argv);
  RUN (test_one_heap);
  return check_end ();
}
