/* nbdkit-vram: has a disk that is read and written by io_submit(2) hang for as
 * long as the file exists that VRAM_TEST_HANG names, and a large pwrite(2)
 * for as long as the one that VRAM_TEST_HANG_WRITE names
 * SPDX-License-Identifier: BSD-3-Clause
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS 10
#define LARGE   (1 << 20) /* bytes; the stand-in driver writes less */

static long (*next) (long number, ...);

/* What the disk has not taken yet. */
static struct held {
  aio_context_t context;
  struct iocb request;
} held[64];
static unsigned count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool
exists (const char *variable)
{
  const char *file = getenv (variable);

  return file && access (file, F_OK) == 0;
}

static bool
hangs (void)
{
  return exists ("VRAM_TEST_HANG");
}

ssize_t
pwrite (int fd, const void *buf, size_t n, off_t offset)
{
  typedef ssize_t pwrite_fn (int fd, const void *buf, size_t n, off_t offset);
  static pwrite_fn *real;

  while (n >= LARGE && exists ("VRAM_TEST_HANG_WRITE"))
    usleep (STEP_MS * 1000);
  if (real == NULL)
    real = (pwrite_fn *) dlsym (RTLD_NEXT, "pwrite");
  return real (fd, buf, n, offset);
}

static bool
hold (aio_context_t context, const struct iocb *request)
{
  bool holds = false;

  pthread_mutex_lock (&lock);
  if (hangs () && count < sizeof held / sizeof held[0]) {
    held[count++] = (struct held){ context, *request };
    holds = true;
  }
  pthread_mutex_unlock (&lock);
  return holds;
}

static void
go_on (void)
{
  struct iocb *request;

  pthread_mutex_lock (&lock);
  while (count > 0 && !hangs ()) {
    request = &held[--count].request;
    next (SYS_io_submit, held[count].context, 1, &request);
  }
  pthread_mutex_unlock (&lock);
}

/* Waits in steps, as the disk may go on meanwhile. */
static long
getevents (const long a[6])
{
  const struct timespec *timeout = (const struct timespec *) a[4];
  long ms = timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000, n;

  for (;; ms -= STEP_MS) {
    struct timespec step = { 0, (ms < STEP_MS ? ms : STEP_MS) * 1000000 };

    go_on ();
    n = next (SYS_io_getevents, a[0], a[1], a[2], a[3], &step, 0L);
    if (n != 0 || ms <= STEP_MS)
      return n;
  }
}

long
syscall (long number, ...)
{
  long a[6];
  va_list args;

  if (next == NULL)
    next = (long (*) (long, ...)) dlsym (RTLD_NEXT, "syscall");
  va_start (args, number);
  for (unsigned i = 0; i < 6; ++i)
    a[i] = va_arg (args, long);
  va_end (args);
  if (number == SYS_io_submit &&
      hold ((aio_context_t) a[0], *(struct iocb **) a[2]))
    return 1;
  if (number == SYS_io_getevents)
    return getevents (a);
  return next (number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
