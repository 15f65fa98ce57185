/* nbdkit-vram: clocks for waits and time limits
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CLOCK_H
#define VRAM_CLOCK_H

#include <errno.h>
#include <stdint.h>
#include <time.h>

/* Nanoseconds since some fixed moment; never goes back. */
static inline uint64_t
clock_ns (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static inline uint64_t
clock_ms (void)
{
  return clock_ns () / 1000000;
}

/* Milliseconds since the machine was started, asleep or not. */
static inline uint64_t
clock_boottime_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_BOOTTIME, &ts);
  return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* The moment NS nanoseconds from now, for timed waits by CLOCK_MONOTONIC. */
static inline struct timespec
clock_after_ns (uint64_t ns)
{
  uint64_t then = clock_ns () + ns;

  return (struct timespec){ .tv_sec = (time_t) (then / 1000000000),
                            .tv_nsec = (long) (then % 1000000000) };
}

/* Sleep for US microseconds, signals or not. */
static inline void
clock_sleep_us (uint64_t us)
{
  struct timespec ts = {
    .tv_sec = (time_t) (us / 1000000),
    .tv_nsec = (long) (us % 1000000 * 1000),
  };

  while (clock_nanosleep (CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
    ;
}

#endif /* VRAM_CLOCK_H */
