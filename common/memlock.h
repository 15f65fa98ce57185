/* nbdkit-vram: keeps a process in RAM and alive when memory is short
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_MEMLOCK_H
#define VRAM_MEMLOCK_H

/* A server that waits for memory, while memory waits for that server to take a
 * page, hangs the machine.
 */
enum memlock {
  MEMLOCK_NO,       /* an ordinary process */
  MEMLOCK_AUTO,     /* what is refused is a warning each */
  MEMLOCK_YES,      /* a refused lock is an error, the others are warnings */
  MEMLOCK_REQUIRED, /* whatever is refused is an error */
};

/* Before the first thread is started, so that all inherit it: mark the process
 * as one that the kernel's memory reclaim depends on (PR_SET_IO_FLUSHER, Linux
 * 5.6), and as the last to be killed for want of memory (OOM score -1000); and
 * have all threads allocate from one heap.  Returns 0, or -1 after log_error.
 */
extern int memlock_prepare (enum memlock mode);

/* When all that requests need is there: have it stay in RAM, and all that
 * comes later from the moment when it is first used.  Returns 0, or -1 after
 * log_error.
 */
extern int memlock_all (enum memlock mode);

/* For a process with one thread that swap depends on: memlock_prepare, and all
 * that it has or comes to have is in RAM at once.  What is refused is a
 * warning each.
 */
extern void memlock_process (void);

/* Write SCORE to this process's oom_score_adj.  Returns 0, or -1 with errno.
 * Only async-signal-safe calls.
 */
extern int memlock_set_oom_score (const char *score);

/* In a child process before exec, so that it does not inherit what
 * memlock_prepare did to this process.  Locks on memory are not inherited.
 * Only async-signal-safe calls, safe after vfork too.
 */
extern void memlock_undo (void);

/* On each thread that serves requests, before its first one and now and then:
 * set PR_SET_IO_FLUSHER again if a library has cleared it, and warn, once,
 * about that and about a nice value that has been raised.  Does nothing after
 * MEMLOCK_NO.
 */
extern void memlock_check_thread (void);

/* On each thread that serves requests, before its first one: touch the stack
 * that requests may need.
 */
extern void memlock_touch_stack (void);

/* Give back what nbdkit's threads have grown the heap by: a buffer each, of
 * the largest request that it has served.  The reserve of memlock_all stays.
 * For when no request is running; takes some milliseconds at most.
 */
extern void memlock_trim_heap (void);

#endif /* VRAM_MEMLOCK_H */
