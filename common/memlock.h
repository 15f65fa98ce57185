/* nbdkit-vram: keeps a process in RAM and alive when memory is short
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_MEMLOCK_H
#define VRAM_MEMLOCK_H

/* The machine hangs if the server waits for memory while the kernel waits for
 * the server to take a page.
 */
enum memlock {
  MEMLOCK_NO,       /* change nothing */
  MEMLOCK_AUTO,     /* warn about each refused call */
  MEMLOCK_YES,      /* fail if memory cannot be locked */
  MEMLOCK_REQUIRED, /* fail if any call is refused */
};

/* Mark the process as one that memory reclaim depends on (PR_SET_IO_FLUSHER,
 * Linux 5.6) and as the last one for the OOM killer (OOM score -1000), and
 * have all threads allocate from one heap.  Call it before the first thread is
 * started, because threads inherit it.  Returns 0, or -1 after log_error.
 */
extern int memlock_prepare (enum memlock mode);

/* Lock the process in RAM: what it uses now, and what is added later when it
 * is first used.  Call it when all that requests need is allocated.  Returns
 * 0, or -1 after log_error.
 */
extern int memlock_all (enum memlock mode);

/* For a process with one thread that swap depends on: memlock_prepare, and
 * lock all present and future memory in RAM at once.  Warns about each refused
 * call.
 */
extern void memlock_process (void);

/* Make a child process an ordinary one: no I/O flusher, and OOM score 0.  It
 * may inherit both from before memlock_prepare, too: the daemon has its score
 * from systemd, and the server has all of it from the daemon.  (Memory locks
 * are not inherited.)  Makes only async-signal-safe calls.
 */
extern void memlock_undo (void);

/* Set PR_SET_IO_FLUSHER of the calling thread again if a library has cleared
 * it.  Warns once about that, and once about a raised nice value.  Call it on
 * each thread that serves requests, before the first one and now and then.
 * Does nothing after MEMLOCK_NO.
 */
extern void memlock_check_thread (void);

/* Touch the stack that requests may need.  Call it on each thread that serves
 * requests, before the first one.
 */
extern void memlock_touch_stack (void);

/* Free the heap beyond the reserve of memlock_all.  nbdkit's threads grow it
 * by a buffer each, as large as the largest request.  Call it while no request
 * is running.  A block at its end that malloc caches for a thread keeps what
 * is below it.  Takes a few milliseconds at most.
 */
extern void memlock_trim_heap (void);

#endif /* VRAM_MEMLOCK_H */
