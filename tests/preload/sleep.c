/* nbdkit-vram: makes a server believe that the machine has slept
 * SPDX-License-Identifier: BSD-3-Clause
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* While the file $VRAM_TEST_SLEPT exists, the clocks that run while the
 * machine sleeps are one hour ahead.
 */
int
clock_gettime (clockid_t clock, struct timespec *ts)
{
  static int (*_Atomic next) (clockid_t clock, struct timespec * ts);
  const char *path;
  int r;

  if (next == NULL)
    next = dlsym (RTLD_NEXT, "clock_gettime");
  r = next (clock, ts);
  path = getenv ("VRAM_TEST_SLEPT");
  if (r == 0 && path && access (path, F_OK) == 0 &&
      (clock == CLOCK_BOOTTIME || clock == CLOCK_REALTIME ||
       clock == CLOCK_REALTIME_COARSE))
    ts->tv_sec += 3600;
  return r;
}
