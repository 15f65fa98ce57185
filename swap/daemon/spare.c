/* nbdkit-vram: spare memory, for the server that follows one that has died
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The memory is a file in RAM (memfd), because making it shorter needs no
 * memory, unlike munmap, which may split a mapping.  It is locked by a mapping
 * of all that it may become.
 *
 * A thread of its own does it, because the main thread may itself wait for
 * memory: to start a process, for example.  Given back all at once, the memory
 * would go to the first program that asks.  It is given back in parts, and
 * only when no program gets any: the other programs soon block in reclaim,
 * waiting for swap, while the server, which does not wait for I/O
 * (PR_SET_IO_FLUSHER), asks again and again.
 *
 * The daemon forks.  So the thread calls neither malloc nor stdio, and what it
 * writes to is in shared mappings, its stack included: after a fork the first
 * write to a private page copies it, which waits for memory, and during a fork
 * it waits for the fork.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "common/units.h"
#include "descriptors.h"
#include "meminfo.h"
#include "msg.h"
#include "spare.h"

#define PART    ((int64_t) (256 * KiB))
#define MOST    ((int64_t) GiB) /* that can be held */
#define MARGIN  (2 * PART)      /* above the floor, for a part to be taken */
#define GIVE_MS 1               /* between looks while a server starts */
#define TAKE_MS 1000            /* between looks while RAM is short; doubles */
#define LONG_MS 60000           /* ... up to this */

/* Every LOOKS-th look while RAM is nearly full gives a part back even if the
 * floor is not reached: a part of what is free may be for the kernel alone.
 */
#define LOOKS 12

/* ThreadSanitizer needs that much. */
#define STACK MiB

struct shared {
  sem_t wake;
  _Atomic int64_t held; /* changed by the thread only */
  _Atomic int64_t wanted;
  _Atomic bool giving;
  _Atomic int64_t floor; /* see meminfo_floor */
};

static struct shared *shared;

/* The thread's only. */
static int file = -1;
static char *memory;

static int64_t
free_now (void)
{
  struct sysinfo s;

  return sysinfo (&s) == 0 ? (int64_t) s.freeram * s.mem_unit : 0;
}

static void
wait_ms (unsigned ms)
{
  struct timespec until;

  clock_gettime (CLOCK_MONOTONIC, &until);
  until.tv_sec += ms / 1000;
  until.tv_nsec += ms % 1000 * 1000000L;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  sem_clockwait (&shared->wake, CLOCK_MONOTONIC, &until);
}

static void
shorten (int64_t to)
{
  if (ftruncate (file, to) == 0)
    atomic_store (&shared->held, to);
  else
    wait_ms (TAKE_MS);
}

/* Returns whether it got another part. */
static bool
take_part (void)
{
  const int64_t now = atomic_load (&shared->held);

  /* Below that, this thread might wait for memory, inside the kernel, when it
   * has to give.
   */
  if (free_now () < atomic_load (&shared->floor) + MARGIN)
    return false;
  /* A fault could not report that there is none. */
  if (fallocate (file, 0, now, PART) == -1)
    return false;
  for (int64_t i = 0; i < PART; i += 4096)
    *(volatile char *) (memory + now + i) = 0;
  atomic_store (&shared->held, now + PART);
  return true;
}

static void
look_and_give (unsigned look)
{
  const int64_t now = free_now (), floor = atomic_load (&shared->floor);

  if (now <= floor ||
      (look % LOOKS == 0 && now <= floor + atomic_load (&shared->wanted)))
    shorten (atomic_load (&shared->held) - PART);
}

static void *
run (void *arg)
{
  unsigned looks = 0, pause = TAKE_MS;

  (void) arg;
  for (;;) {
    const int64_t held = atomic_load (&shared->held),
                  wanted = atomic_load (&shared->wanted);

    if (atomic_load (&shared->giving) && held > 0) {
      look_and_give (++looks);
      wait_ms (GIVE_MS);
    }
    else if (!atomic_load (&shared->giving) && held < wanted) {
      if (take_part ())
        pause = TAKE_MS;
      else {
        wait_ms (pause);
        pause = pause < LONG_MS ? 2 * pause : pause;
      }
    }
    else if (!atomic_load (&shared->giving) && held > wanted)
      shorten (wanted);
    else
      sem_wait (&shared->wake);
  }
  return NULL;
}

static void *
map_shared (size_t size)
{
  return mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
               -1, 0);
}

static int
make_file (void)
{
  /* Out of the way of descriptors that a renewed daemon inherits. */
  const int fd = memfd_create ("spare", MFD_CLOEXEC);

  if (fd == -1)
    return -1;
  file = fcntl (fd, F_DUPFD_CLOEXEC, 64 + DESCRIPTORS_MAX);
  close (fd);
  if (file == -1)
    return -1;
  /* Nothing of it is there yet, so locking it brings nothing in. */
  memory = mmap (NULL, MOST, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED)
    return -1;
  /* Parts would give nothing back before a whole huge page is free. */
  madvise (memory, MOST, MADV_NOHUGEPAGE);
  return madvise (memory, MOST, MADV_DONTFORK);
}

static int
start_thread (void)
{
  void *stack = map_shared (STACK);
  pthread_attr_t attr;
  sigset_t all, before;
  pthread_t thread;

  if (stack == MAP_FAILED)
    return -1;
  pthread_attr_init (&attr);
  pthread_attr_setstack (&attr, stack, STACK);
  pthread_attr_setdetachstate (&attr, PTHREAD_CREATE_DETACHED);
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  errno = pthread_create (&thread, &attr, run, NULL);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  pthread_attr_destroy (&attr);
  return errno == 0 ? 0 : -1;
}

/* Once.  A failure is for the rest of the daemon's life. */
static bool
start (void)
{
  static bool tried;
  struct shared *s;

  if (tried)
    return shared != NULL;
  tried = true;
  s = map_shared (sizeof *s);
  if (s != MAP_FAILED) {
    sem_init (&s->wake, 1, 0);
    shared = s;
    if (make_file () == 0 && start_thread () == 0)
      return true;
    shared = NULL;
  }
  log_warning ("cannot hold RAM for the next server: %m");
  return false;
}

void
spare_hold (int64_t bytes)
{
  int64_t floor;

  if (bytes == 0 && !shared)
    return;
  if (meminfo_floor (&floor)) {
    if (!start ())
      return;
    atomic_store (&shared->floor, floor);
  }
  else if (!shared)
    return;
  atomic_store (&shared->wanted, bytes > MOST ? MOST : bytes / PART * PART);
  atomic_store (&shared->giving, false);
  sem_post (&shared->wake);
}

void
spare_give (void)
{
  if (!shared)
    return;
  atomic_store (&shared->giving, true);
  sem_post (&shared->wake);
}

int64_t
spare_held (void)
{
  return shared ? atomic_load (&shared->held) : 0;
}

int64_t
spare_wanted (void)
{
  return shared ? atomic_load (&shared->wanted) : 0;
}
