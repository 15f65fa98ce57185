/* nbdkit-vram: starts and joins the plugin's threads
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_THREAD_H
#define VRAM_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Start a thread that runs RUN (ARG), with a stack that is large enough for
 * the driver and little enough to be locked in RAM, and with all signals but
 * SIGBUS blocked, because nbdkit's threads handle them.  SIGBUS is for the
 * thread that touches a mapping of VRAM.  Returns 0, or -1 after log_error.
 */
extern int thread_start (pthread_t *thread, void *(*run) (void *), void *arg);

/* Join THREAD, which sets *ENDED just before it returns, or give up after MS.
 * Returns 0, or -1 if it still runs.  (ThreadSanitizer does not know
 * pthread_clockjoin_np.)
 */
extern int
thread_join (pthread_t thread, const atomic_bool *ended, unsigned ms);

/* Allow the timers of threads that the calling thread creates from now on to
 * fire late: up to 10 s with RELAX, by the kernel's default of 50 us
 * without.  Threads inherit this slack (prctl(2), PR_SET_TIMERSLACK), so call
 * it around calls into a library whose threads poll: their timed waits then
 * end when the CPU is awake anyway, and wake no idle CPU.  Waits that a
 * wake-up or a descriptor ends are as fast as ever.  thread_start is not
 * affected.
 */
extern void thread_relax_timers (bool relax);

#endif /* VRAM_THREAD_H */
