/* nbdkit-vram: gives back memory that only set-up needed
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SHED_H
#define VRAM_SHED_H

/* When the window is open, before memory is locked: give back what Vulkan took
 * for opening it.  The driver's Vulkan libraries are not called again before
 * the end, and what they need then is read from their files.  libcuda, which
 * requests need, stays as it is.
 */
extern void shed_set_up_memory (void);

#endif /* VRAM_SHED_H */
