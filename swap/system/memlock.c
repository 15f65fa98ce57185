/* nbdkit-vram: keeps this process going while swap does not answer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "memlock.h"
#include "msg.h"
#include "root.h"

/* Linux 5.6; older headers lack it. */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* What messages and the C library use of the stack, generously. */
#define STACK_RESERVE (128 * 1024)

static void __attribute__ ((noinline)) touch_stack (void)
{
  volatile char stack[STACK_RESERVE];

  for (size_t i = 0; i < sizeof stack; i += 4096)
    stack[i] = 0;
}

void
memlock_process (void)
{
  const char *path = root_path ("/proc/self/oom_score_adj");
  int fd = open (path, O_WRONLY | O_CLOEXEC);

  if (fd == -1 || write (fd, "-1000", 5) != 5)
    warning ("this process may be killed when memory is short: %s: %m", path);
  if (fd != -1)
    close (fd);
  if (prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0) == -1)
    warning ("memory reclaim may wait for this process while it waits for "
             "memory: PR_SET_IO_FLUSHER: %m");
  touch_stack ();
  if (mlockall (MCL_CURRENT | MCL_FUTURE) == -1)
    warning ("this process may be swapped out: mlockall: %m");
}
