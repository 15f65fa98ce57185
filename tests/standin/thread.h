/* nbdkit-vram: how the stand-in drivers start threads
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef STANDIN_THREAD_H
#define STANDIN_THREAD_H

#include <pthread.h>

/* Starts a joinable thread that blocks all signals, so that the program's
 * handlers run on its own threads.  Returns what pthread_create does.
 */
extern int thread_start (pthread_t *thread, void *(*fn) (void *), void *arg);

#endif /* STANDIN_THREAD_H */
