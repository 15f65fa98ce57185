/* nbdkit-vram: one thread that notices when the driver does not answer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_WATCHDOG_H
#define VRAM_WATCHDOG_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>

/* Every call into the driver can hang.  A thread that calls the driver says so
 * in a struct watchdog_wait.  The watchdog's thread looks at all of them.  If
 * one makes no progress for gpu-timeout, the GPU counts as lost:
 *
 * - The wait's expired function declares the GPU lost, so that all waiting and
 *   later requests fail.  Threads that poll see this by themselves.  Threads
 *   that wait for each other are woken (watchdog_on_lost).
 * - A thread that is still inside the driver gets a signal (SIGURG), whose
 *   handler jumps to the place that the thread has stored in ESCAPE.  The
 *   driver is not called again, so locks that the call has left do not
 *   matter.  A thread that sleeps uninterruptibly in the kernel stays there.
 * - A server that is starting or ending, or is told to end later, ends in any
 *   case, if necessary by _exit.
 *
 * Time is counted in ticks of the watchdog, not read from a clock, so that a
 * stopped process or a sleeping machine does not lose its GPU.  While no wait
 * is in use, the watchdog sleeps.
 */
struct watchdog_wait {
  _Atomic uint64_t serial; /* odd while the thread waits */
  atomic_int thread;       /* its kernel ID */
  sigjmp_buf escape;       /* set by sigsetjmp before watchdog_begin */

  /* For the watchdog alone. */
  void (*expired) (void *arg);
  void *arg;
  uint64_t seen;
  unsigned ticks;
  struct watchdog_wait *next;
};

/* Start the watchdog.  Call it before the first call into the driver.  Before
 * the watchdog ends the process by _exit, it calls GIVE_UP on its own thread,
 * unless that is NULL.  A watchdog that still runs after a loss is reset.
 * Returns 0, or -1 after log_error.
 */
extern int watchdog_start (unsigned timeout_ms, void (*give_up) (void));

/* Stop the watchdog.  If the GPU is lost, it goes on instead, and ends the
 * process if that does not end by itself.  Does nothing if the watchdog does
 * not run.
 */
extern void watchdog_stop (void);

extern unsigned watchdog_timeout_ms (void);

/* Begin and end watching WAIT, which must be all zeros at first.  EXPIRED is
 * called on the watchdog's thread when a wait is too long.
 */
extern void watchdog_add (struct watchdog_wait *wait,
                          void (*expired) (void *arg), void *arg);
extern void watchdog_remove (struct watchdog_wait *wait);

/* The calling thread begins a wait, has got an answer of the driver
 * (progress), and ends the wait.  Call sigsetjmp (wait->escape, 0) first.  If
 * that returns 1, the thread must call watchdog_end, and must not call the
 * driver again.  These take a few nanoseconds and no lock.
 */
extern void watchdog_begin (struct watchdog_wait *wait);
extern void watchdog_end (struct watchdog_wait *wait);

/* With NULL: do not interrupt the calling thread's wait, which is returned,
 * because the thread is going to hold a lock that other threads need, such as
 * the log's.  Call it with the returned wait to end that.
 */
extern struct watchdog_wait *watchdog_shield (struct watchdog_wait *wait);

static inline void
watchdog_progress (struct watchdog_wait *wait)
{
  atomic_fetch_add_explicit (&wait->serial, 2, memory_order_relaxed);
}

/* Waits outside of copies.  Call watchdog_enter before each call into the
 * driver, also when a wait has begun already, and watchdog_leave after the
 * last one.  Every function of a provider except copies and check enters; the
 * caller leaves after a series.  Both do nothing on a thread without a wait
 * for this.  The thread that starts and ends the server has one, and others
 * get one by watchdog_add_thread.  Such a thread is not taken out of the
 * driver.  If it is the one that starts or ends the server, the process ends.
 * Do not wait without a bound for others once the GPU is lost.
 */
extern void watchdog_enter (void);
extern void watchdog_leave (void);

/* Begin and end watching the calling thread's calls into the driver with WAIT,
 * which must be all zeros at first.
 */
extern void watchdog_add_thread (struct watchdog_wait *wait);
extern void watchdog_remove_thread (void);

/* Set the function that is called when a wait of such a thread is too long, as
 * in watchdog_add.  An open provider sets its own.
 */
extern void watchdog_set_expired (void (*expired) (void *arg), void *arg);

/* Have FN (ARG) called when the GPU is lost, on any thread.  It must not
 * block.  After watchdog_forget has returned, it is not being called and will
 * not be.
 */
extern void watchdog_on_lost (void (*fn) (void *arg), void *arg);
extern void watchdog_forget (void (*fn) (void *arg), void *arg);

/* The GPU is lost: call all functions of watchdog_on_lost. */
extern void watchdog_lost (void);

#endif /* VRAM_WATCHDOG_H */
