/* nbdkit-vram: threads of the plugin's own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_THREAD_H
#define VRAM_THREAD_H

#include <pthread.h>

/* Start a thread that runs RUN (ARG), with a stack that is large enough for the
 * driver and little enough to be locked in RAM, and with all signals blocked:
 * they are for nbdkit's threads.  Returns 0, or -1 after log_error.
 */
extern int thread_start (pthread_t *thread, void *(*run) (void *), void *arg);

#endif /* VRAM_THREAD_H */
