/* nbdkit-vram: the CPU's own mapping of VRAM, through Vulkan
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_MAPPING_H
#define VRAM_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/provider.h"
#include "gpu/vulkan/libvulkan.h"

/* A Vulkan device that chunks of VRAM are imported into, as memory that is in
 * VRAM and visible to the CPU.  Copies use a chunk's mapping, which is
 * write-combined, without the driver, without a lock and without waiting for
 * another copy.
 */
struct mapping;

/* One chunk's mapping; all zeros for a chunk that is not mapped. */
struct chunk_mapping {
  VkDeviceMemory memory;
  char *address;
  uint64_t size;
};

/* Open the GPU with this UUID for mappings of up to BYTES of its VRAM.  Starts
 * threads of the driver's libraries.  Returns NULL with the reason in REASON;
 * nothing is logged as an error then.
 */
extern struct mapping *mapping_open (const uint8_t uuid[16], uint64_t bytes,
                                     char reason[PROVIDER_REASON]);

/* Whether mapping_open would succeed; the reason is in REASON if not. */
extern bool mapping_probe (const uint8_t uuid[16], uint64_t bytes,
                           char reason[PROVIDER_REASON]);

/* Map the SIZE bytes of VRAM that the descriptor FD stands for, and touch
 * them, so that no request is the first to.  FD stays the caller's.  One
 * thread at a time.  Returns 0, or -1 with the reason in REASON, among them
 * that no more of the VRAM that the CPU sees may be used: part of it is left
 * to other programs.
 */
extern int mapping_add (struct mapping *mapping, struct chunk_mapping *chunk,
                        int fd, uint64_t size, char reason[PROVIDER_REASON]);

/* Unmap; nothing happens when CHUNK has no mapping.  No copy of it may be
 * under way.  One thread at a time.
 */
extern void
mapping_remove (struct mapping *mapping, struct chunk_mapping *chunk);

/* Close the device.  With LEAVE the driver is not called, which is what a
 * context that is lost needs; else nothing may be mapped.  NULL is allowed.
 */
extern void mapping_close (struct mapping *mapping, bool leave);

/* Copy COUNT bytes between host memory and OFFSET in CHUNK, any alignment, any
 * thread.  Return 0 when that is done, with what copy.h says about order, or
 * -1 when it has to be done by DMA instead, always with all of the bytes: the
 * mapping is shut.  It is shut for good, and the log told, when the kernel
 * answers an access with SIGBUS: the driver takes mappings away when the GPU
 * sleeps, and puts them back at the next access if it can.  What was copied
 * before is undefined, but nothing of it is still under way.
 */
extern int
mapping_write (struct mapping *mapping, const struct chunk_mapping *chunk,
               uint64_t offset, const void *src, size_t count);
extern int
mapping_read (struct mapping *mapping, const struct chunk_mapping *chunk,
              void *dst, uint64_t offset, size_t count);

/* Whether copies are still served. */
extern bool mapping_is_open (const struct mapping *mapping);

#endif /* VRAM_MAPPING_H */
