/* nbdkit-vram: lets a test in the same process control the stand-in driver
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef STANDIN_CONTROL_H
#define STANDIN_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For unit tests, in addition to the environment (standin.h).  They include
 * the plugin's declarations of CUDA, so there are none here.
 */
struct standin_control {
  /* The NTH call from now on of the function NAME (0: each call) returns CODE.
   * With NAME NULL no call fails.
   */
  void (*fail) (const char *name, unsigned nth, int code);

  /* How many calls have failed so since then. */
  unsigned (*failed) (void);

  /* Device DEV (-1: all) is lost, and calls return CODE. */
  void (*lose) (int dev, int code);

  /* While set, no stream begins any work. */
  void (*hang) (bool hang);

  /* Calls of the function NAME do not return, unless it is NULL. */
  void (*hang_calls) (const char *name);

  /* FN is called, without a lock, before a query returns that work is not
   * done.
   */
  void (*on_not_ready) (void (*fn) (void));

  /* How many devices cuDeviceGetCount finds, at most those at the start. */
  void (*set_devices) (int count);

  /* How often the function NAME (NULL: any) was called. */
  unsigned (*calls) (const char *name);

  /* How many pieces of work and events are not done yet, how many streams had
   * some at the same time, and how many objects are not freed.
   */
  unsigned (*pending) (void);
  unsigned (*most_busy) (void);
  int (*held) (void);

  /* Copies between BUF and ADDRESS in VRAM of device 0, at once.  Returns a
   * CUresult.
   */
  int (*peek) (uint64_t address, void *buf, size_t size);
  int (*poke) (uint64_t address, const void *buf, size_t size);
};

/* What libcuda.so.1 exports as "standin_control". */
extern const struct standin_control standin_control;

#endif /* STANDIN_CONTROL_H */
