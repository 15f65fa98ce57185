/* nbdkit-vram: imitates PR_SET_IO_FLUSHER, which needs CAP_SYS_RESOURCE, with
 * a library that clears it in each new thread
 * SPDX-License-Identifier: BSD-3-Clause
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Linux 5.6; older headers lack it. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

static int (*next) (int option, ...);
static _Thread_local long flusher;

static void __attribute__ ((constructor)) find_next (void)
{
  next = (int (*) (int option, ...)) dlsym (RTLD_NEXT, "prctl");
}

/* Appends "PID THREAD VALUE" to $VRAM_TEST_FLUSHER. */
static void
write_line (long value)
{
  const char *path = getenv ("VRAM_TEST_FLUSHER");
  int fd =
      path ? open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;

  if (fd == -1)
    return;
  dprintf (fd, "%d %d %ld\n", (int) getpid (), (int) gettid (), value);
  close (fd);
}

int
prctl (int option, ...)
{
  long a[4];
  va_list args;

  va_start (args, option);
  for (unsigned i = 0; i < 4; ++i)
    a[i] = va_arg (args, long);
  va_end (args);
  if (option == PR_GET_IO_FLUSHER)
    return (int) flusher;
  if (option != PR_SET_IO_FLUSHER)
    return next (option, a[0], a[1], a[2], a[3]);
  /* Where the kernel permits it, it takes effect, too. */
  next (option, a[0], a[1], a[2], a[3]);
  flusher = a[0];
  write_line (flusher);
  return 0;
}
