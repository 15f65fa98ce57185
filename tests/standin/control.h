/* nbdkit-vram: how a test in the same process steers the stand-in driver
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef STANDIN_CONTROL_H
#define STANDIN_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a unit test needs besides the environment (standin.h).  It includes the
 * plugin's own declarations of CUDA, so there are none here.
 */
struct standin_control {
  /* The NTH call from now on of the function NAME (0: each) answers CODE. With
   * NAME NULL: no call fails.
   */
  void (*fail) (const char *name, unsigned nth, int code);

  /* How many calls have failed so since that. */
  unsigned (*failed) (void);

  /* Device DEV (-1: all) is lost, and CODE what calls answer. */
  void (*lose) (int dev, int code);

  /* While set, no work is begun on any stream. */
  void (*hang) (bool hang);

  /* Calls of the function NAME do not return, unless it is NULL. */
  void (*hang_calls) (const char *name);

  /* FN is called, without a lock, when a question whether work is done is
   * about to be answered with no.
   */
  void (*on_not_ready) (void (*fn) (void));

  /* How many devices cuDeviceGetCount finds: no more than there were. */
  void (*set_devices) (int count);

  /* How often the function NAME was called, NULL: all of them. */
  unsigned (*calls) (const char *name);

  /* Pieces of work and events that no stream has done yet, how many streams
   * had some at the same time, and how many things of all kinds are not freed.
   */
  unsigned (*pending) (void);
  unsigned (*most_busy) (void);
  int (*held) (void);

  /* Copy between BUF and ADDRESS in VRAM of device 0, at once.  Return a
   * CUresult.
   */
  int (*peek) (uint64_t address, void *buf, size_t size);
  int (*poke) (uint64_t address, const void *buf, size_t size);
};

/* What libcuda.so.1 exports as "standin_control". */
extern const struct standin_control standin_control;

#endif /* STANDIN_CONTROL_H */
