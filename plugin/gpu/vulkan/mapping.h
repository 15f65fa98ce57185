/* nbdkit-vram: the CPU's own mapping of VRAM, through Vulkan
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_MAPPING_H
#define VRAM_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/chunk.h"

/* A mapping of all chunks into this process, write-combined, that a copy uses
 * without the driver, without a lock and without waiting for another copy.
 * Each chunk's descriptor is imported into a Vulkan device on the same GPU as
 * memory that is in VRAM and visible to the CPU.
 */
struct mapping;

/* Why there is no window, one line. */
#define MAPPING_REASON 512

/* Map all of CHUNKS, on the GPU with this UUID, and touch each mapping, so that
 * no request is the first to.  Starts threads of the driver's.  Returns NULL
 * with the reason in REASON; nothing is logged as an error then.
 */
extern struct mapping *
mapping_open (const struct chunks *chunks, const uint8_t uuid[16],
              char reason[MAPPING_REASON]);

/* Whether mapping_open would probably succeed for BYTES of VRAM; allocates no
 * VRAM.  The reason is in REASON if not.
 */
extern bool mapping_probe (const uint8_t uuid[16], uint64_t bytes,
                           char reason[MAPPING_REASON]);

/* Unmap.  No copy may be under way.  With LEAVE the driver is not called, which
 * is what a context that is lost asks for.  NULL is allowed.
 */
extern void mapping_free (struct mapping *window, bool leave);

/* Copy COUNT bytes between host memory and OFFSET in VRAM, any alignment, any
 * thread.  Return 0 when that is done, with what route.h says about order, or
 * -1 when the other way has to be taken instead, always with all of the bytes:
 *
 * - The window is shut.  It is shut for good, and the log told, when the kernel
 *   answers an access with SIGBUS: the driver takes mappings away when the GPU
 *   sleeps, and puts them back at the next access if it can.
 * - A read found a line of nothing but ones.  That is what the bus answers for
 *   a GPU that is gone, without any error; whether it is data, the driver
 *   knows.
 *
 * What was copied up to then is undefined, but nothing of it is still under
 * way.
 */
extern int mapping_write (struct mapping *window, uint64_t offset,
                          const void *src, size_t count);
extern int mapping_read (struct mapping *window, void *dst, uint64_t offset,
                         size_t count);

/* Whether copies are still served. */
extern bool mapping_is_open (const struct mapping *window);

#endif /* VRAM_MAPPING_H */
