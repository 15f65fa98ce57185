/* nbdkit-vram: reports the result of a start to nbdkit's parent
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_STARTUP_H
#define VRAM_STARTUP_H

#include <stdbool.h>

/* nbdkit binds its socket, forks into the background or runs the --run
 * command, and only then calls after_fork, where the disk is made.  If that
 * fails, nbdkit's parent process has already ended with success, the socket
 * stays, and clients of the --run command wait forever.  With these functions
 *
 * - the parent process ends when the server serves or has failed, with exit
 *   status 0 or 1;
 * - messages of the server's start appear on the parent's stderr as well;
 * - a start that fails removes the Unix socket, refuses clients, and ends the
 *   command of --run.
 */

/* Call in nbdkit's get_ready: in the parent process, before the socket is
 * bound.
 */
extern void startup_prepare (void);

/* Call at the beginning of nbdkit's after_fork, in the server's process. */
extern void startup_begin (void);

/* Call at the end of after_fork, or before a thread ends the process during
 * it.  SERVES says whether the server has started.  Calls after the first one
 * do nothing.  Any thread.
 */
extern void startup_end (bool serves);

#endif /* VRAM_STARTUP_H */
