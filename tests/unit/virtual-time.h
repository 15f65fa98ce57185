/* nbdkit-vram: time that passes as a test wants it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_VIRTUAL_TIME_H
#define VRAM_VIRTUAL_TIME_H

#include <stdint.h>

/* From virtual_time_begin to virtual_time_end CLOCK_MONOTONIC stands still,
 * except that waits with a limit and sleeps last no time and move it to their
 * end.  So a test takes no time to wait, and does not depend on the machine's
 * speed.  Only one thread may wait meanwhile.  Add virtual-time.c to the
 * test's sources.
 */
extern void virtual_time_begin (void);
extern void virtual_time_end (void);
extern void virtual_time_pass (uint64_t ms);

#endif /* VRAM_VIRTUAL_TIME_H */
