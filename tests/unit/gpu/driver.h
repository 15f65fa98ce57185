/* nbdkit-vram: the stand-in driver, inside the test
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DRIVER_H
#define VRAM_DRIVER_H

#include <stdbool.h>

#include "gpu/cuda/libcuda.h"
#include "tests/standin/control.h"

/* The driver lives as long as its process: tests with it are run by RUN_ALONE.
 */
extern const struct standin_control *driver;

/* Set the driver's variable NAME (tests/standin/standin.h), before
 * driver_begin.
 */
extern void driver_set (const char *name, const char *value);

/* Start the driver, or, once more in the same test, look that no fault is
 * left. Work is done as late as it can be.
 */
extern void driver_begin (void);

/* Check that everything was freed. */
extern void driver_check_freed (void);

/* Bytes of VRAM that are allocated in the current context. */
extern uint64_t driver_used (void);

#endif /* VRAM_DRIVER_H */
