/* nbdkit-vram: gives back memory that only the start needs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_RELEASE_H
#define VRAM_RELEASE_H

/* Give back the resident pages of code that only opening the mapping needed,
 * before memory is locked: 37 of 192 MiB on an H100 with driver 580.159.04.
 * The driver's Vulkan libraries are not called again before the end, and what
 * they need then is read from their files.  libcuda, which requests need,
 * stays as it is.
 */
extern void release_libraries (void);

#endif /* VRAM_RELEASE_H */
