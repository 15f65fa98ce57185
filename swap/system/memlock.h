/* nbdkit-vram: keeps this process going while swap does not answer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_MEMLOCK_H
#define VRAM_SWAP_MEMLOCK_H

/* For a process that swap depends on: its memory stays in RAM, now and later;
 * what it needs from the kernel does not wait for pages to be swapped out
 * (PR_SET_IO_FLUSHER, which programs that it starts inherit); it is the last
 * to be killed when memory is short.  What is refused is a warning each.
 */
void memlock_process (void);

#endif
