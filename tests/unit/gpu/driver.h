/* nbdkit-vram: runs the stand-in driver inside of a unit test
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DRIVER_H
#define VRAM_DRIVER_H

#include <stdbool.h>

#include "gpu/cuda/libcuda.h"
#include "tests/standin/control.h"

/* The driver lives as long as its process, so its tests need RUN_ALONE. */
extern const struct standin_control *driver;

/* Sets the driver's variable NAME (tests/standin/standin.h).  Call it before
 * driver_begin.
 */
extern void driver_set (const char *name, const char *value);

/* Starts the driver.  In the same test again, it checks that no fault is left.
 * Work is done as late as possible.
 */
extern void driver_begin (void);

/* Checks that all objects of the driver were freed. */
extern void driver_check_freed (void);

/* Bytes of VRAM that are allocated in the current context. */
extern uint64_t driver_used (void);

#endif /* VRAM_DRIVER_H */
