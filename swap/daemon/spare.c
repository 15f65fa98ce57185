/* nbdkit-vram: spare memory, for the server that follows one that has died
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The memory is a file in RAM (memfd), because making it shorter needs no
 * memory, unlike munmap, which may split a mapping.  It is locked by a mapping
 * of all that it may become.
 *
 * A thread of its own does it, because the daemon's other thread may itself
 * wait for memory: to start a process, for example.  Given back all at once,
 * the memory would go to whoever asks first.  It is given back in parts, and
 * only when no program gets any more: each of the others is stuck in reclaim
 * soon, waiting for swap, while the server, which does not wait for I/O
 * (PR_SET_IO_FLUSHER), asks again and again.
 *
 * The thread calls neither malloc nor stdio: the daemon forks.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "common/thread.h"
#include "common/units.h"
#include "meminfo.h"
#include "msg.h"
#include "spare.h"

#define PART    ((int64_t) MiB)
#define MOST    ((int64_t) GiB) /* that can be held */
#define MARGIN  (2 * PART)      /* free besides when a part is taken */
#define GIVE_MS 2               /* between looks while a server starts */
#define TAKE_MS 1000            /* between looks while RAM is short */

/* While a server starts, every so manieth look gives a part back though enough
 * seems to be free: some of it may be for the kernel alone.
 */
#define LOOKS 25

static int file = -1;
static char *memory;
static sem_t wake;

/* Changed by the thread only. */
static _Atomic int64_t held;

static _Atomic int64_t wanted;
static _Atomic bool giving;

/* At least so much must be free for programs to get more. */
static _Atomic int64_t floor_now;

static int64_t
free_now (void)
{
  struct sysinfo s;

  return sysinfo (&s) == 0 ? (int64_t) s.freeram * s.mem_unit : 0;
}

static void
wait_ms (long ms)
{
  struct timespec until;

  clock_gettime (CLOCK_MONOTONIC, &until);
  until.tv_nsec += ms * 1000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  sem_clockwait (&wake, CLOCK_MONOTONIC, &until);
}

/* It cannot fail: nobody else has the file. */
static void
shorten (int64_t to)
{
  if (ftruncate (file, to) == 0)
    atomic_store (&held, to);
}

/* Returns whether it got another part. */
static bool
take_part (void)
{
  const int64_t now = atomic_load (&held);

  /* Or this thread could wait for memory itself, and have the daemon wait. */
  if (free_now () < atomic_load (&floor_now) + MARGIN)
    return false;
  /* A fault could not report that there is none. */
  if (fallocate (file, 0, now, PART) == -1)
    return false;
  for (int64_t i = 0; i < PART; i += 4096)
    *(volatile char *) (memory + now + i) = 0;
  atomic_store (&held, now + PART);
  return true;
}

static void
look_and_give (unsigned look)
{
  if (free_now () <= atomic_load (&floor_now) || look % LOOKS == 0)
    shorten (atomic_load (&held) - PART);
}

static void *
run (void *arg)
{
  unsigned looks = 0;

  (void) arg;
  for (;;) {
    const int64_t now = atomic_load (&held), goal = atomic_load (&wanted);

    if (atomic_load (&giving) && now > 0) {
      look_and_give (++looks);
      wait_ms (GIVE_MS);
    }
    else if (!atomic_load (&giving) && now < goal) {
      if (!take_part ())
        wait_ms (TAKE_MS);
    }
    else if (!atomic_load (&giving) && now > goal)
      shorten (goal);
    else
      sem_wait (&wake);
  }
  return NULL;
}

static int
start (void)
{
  pthread_t thread;

  file = memfd_create ("spare", MFD_CLOEXEC);
  if (file == -1)
    return -1;
  /* Nothing of it is there yet, so locking it brings nothing in. */
  memory = mmap (NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED)
    goto fail;
  sem_init (&wake, 0, 0);
  if (thread_start (&thread, run, NULL) == 0) {
    pthread_detach (thread);
    return 0;
  }
  munmap (memory, MOST);

fail:
  close (file);
  file = -1;
  return -1;
}

void
spare_hold (int64_t bytes)
{
  int64_t least;

  if (!meminfo_floor (&least))
    return;
  if (file == -1 && start () == -1) {
    log_warning ("no memory is set aside for the next server: %m");
    return;
  }
  atomic_store (&floor_now, least);
  atomic_store (&wanted, bytes > MOST ? MOST : bytes / PART * PART);
  atomic_store (&giving, false);
  sem_post (&wake);
}

void
spare_give (void)
{
  if (file == -1)
    return;
  atomic_store (&giving, true);
  sem_post (&wake);
}

void
spare_drop (void)
{
  if (file == -1)
    return;
  atomic_store (&wanted, 0);
  atomic_store (&giving, false);
  sem_post (&wake);
  for (unsigned ms = 0; atomic_load (&held) > 0 && ms < 1000; ms++)
    nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

int64_t
spare_held (void)
{
  return atomic_load (&held);
}

int64_t
spare_wanted (void)
{
  return atomic_load (&wanted);
}
