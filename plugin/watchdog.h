/* nbdkit-vram: one thread that notices when the driver does not answer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_WATCHDOG_H
#define VRAM_WATCHDOG_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>

/* Every call into the driver can hang.  A thread that calls it says so in a
 * struct watchdog_wait; the watchdog looks at all of them, and one that has
 * made no progress for gpu-timeout means that the GPU is lost:
 *
 * - The wait's expired function declares the GPU lost, so that every waiting
 *   and every later request fails.  Threads that poll the driver see that by
 *   themselves, and threads that wait for each other are woken
 *   (watchdog_on_lost).
 * - A thread that is still inside the driver is taken out of it by a signal
 *   (SIGURG), whose handler jumps to where the thread has said that its wait
 *   may end.  The driver is not called again, so that what the call has left
 *   locked does not matter.  A thread that sleeps uninterruptibly in the
 *   kernel cannot be helped.
 * - A server that starts or ends, or is told to end afterwards, ends in any
 *   case: by _exit if it must.
 *
 * Time is counted in ticks of the watchdog and not by a clock, so that a
 * process that was stopped, or a machine that slept, does not lose its GPU.
 * The watchdog sleeps until it is woken while there is nothing to wait for.
 */
struct watchdog_wait {
  _Atomic uint64_t serial; /* odd: the thread is waiting */
  atomic_int thread;       /* its kernel ID */
  sigjmp_buf escape;       /* set by sigsetjmp before watchdog_begin */

  /* For the watchdog alone. */
  void (*expired) (void *arg);
  void *arg;
  uint64_t seen;
  unsigned ticks;
  struct watchdog_wait *next;
};

/* Start the watchdog, before the first call into the driver.  Before it ends
 * the process by _exit it calls GIVE_UP on its own thread, unless that is
 * NULL.  One that still runs after a loss starts anew.  Returns 0, or -1 after
 * log_error.
 */
extern int watchdog_start (unsigned timeout_ms, void (*give_up) (void));

/* Stop it.  When the GPU is lost it goes on instead, to end a process that
 * does not end by itself.  Does nothing when it does not run.
 */
extern void watchdog_stop (void);

extern unsigned watchdog_timeout_ms (void);

/* Watch WAIT, all zeros, from now on, and no more.  EXPIRED is called once,
 * on the watchdog's thread, when a wait is too long.
 */
extern void watchdog_add (struct watchdog_wait *wait,
                          void (*expired) (void *arg), void *arg);
extern void watchdog_remove (struct watchdog_wait *wait);

/* The calling thread begins and ends a wait; progress is an answer of the
 * driver in between.  sigsetjmp (wait->escape, 0) comes first, and where it
 * returns 1 the thread must call watchdog_end, and the driver no more.  They
 * take a few nanoseconds and no lock.
 */
extern void watchdog_begin (struct watchdog_wait *wait);
extern void watchdog_end (struct watchdog_wait *wait);

/* With NULL: do not take the calling thread out of its wait, which is
 * returned, because it is about to hold a lock that other threads need, such
 * as the log's. With that wait: go on as before.
 */
extern struct watchdog_wait *watchdog_shield (struct watchdog_wait *wait);

static inline void
watchdog_progress (struct watchdog_wait *wait)
{
  atomic_fetch_add_explicit (&wait->serial, 2, memory_order_relaxed);
}

/* Waits outside of copies.  The calling thread is about to call the driver,
 * perhaps once more, or does so no more.  Every function of a provider but its
 * copies and check enters, and the caller leaves after the last of a series.
 * Both do nothing on a thread that has no wait for this: the one that starts
 * and ends the server has, and others get one by watchdog_add_thread.
 *
 * A thread that does not come back is not taken out of the driver.  The
 * process ends when that is the thread that starts and ends the server. Others
 * must not be waited for without a bound once the GPU is lost.
 */
extern void watchdog_enter (void);
extern void watchdog_leave (void);

/* Have calls into the driver of the calling thread watched by WAIT, all zeros,
 * and no more.
 */
extern void watchdog_add_thread (struct watchdog_wait *wait);
extern void watchdog_remove_thread (void);

/* What is called when a wait of such a thread is too long, as the function of
 * watchdog_add: the provider's, as long as one is open.
 */
extern void watchdog_set_expired (void (*expired) (void *arg), void *arg);

/* Have FN (ARG) called when the GPU is lost, on any thread: it must not block.
 * watchdog_forget returns when it is not being called and will not be.
 */
extern void watchdog_on_lost (void (*fn) (void *arg), void *arg);
extern void watchdog_forget (void (*fn) (void *arg), void *arg);

/* The GPU is lost: tell all who want to know. */
extern void watchdog_lost (void);

#endif /* VRAM_WATCHDOG_H */
