/* nbdkit-vram: keeps the service manager itself out of swap
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_PID1_H
#define VRAM_SWAP_PID1_H

#include <stddef.h>

#define PID1_SWAP_MAX "/sys/fs/cgroup/init.scope/memory.swap.max"

/* While the server is being replaced, process 1 must not wait for a page of
 * its own that is on the disk: it could not start this daemon again, nor
 * restart the machine.  So its cgroup gets memory.swap.max = 0;
 * BEFORE becomes what was there, "" when there is no such cgroup.
 */
void pid1_keep_in_ram (char *before, size_t size);

void pid1_restore (const char *before);

#endif
