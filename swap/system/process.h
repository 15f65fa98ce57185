/* nbdkit-vram: processes that are not our children
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_PROCESS_H
#define VRAM_SWAP_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* When PID was started, in the kernel's ticks since boot: with the number it
 * names one process for good.  -1 when there is none or only its zombie.
 */
int64_t process_started (pid_t pid);

#endif
