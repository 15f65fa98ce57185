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

/* A Vulkan device that imports chunks of VRAM as memory that the CPU can map.
 * The mapping of a chunk is write-combined.  Copies through it call no driver,
 * take no lock, and do not wait for each other.
 */
struct mapping;

/* One chunk's mapping; all zeros for a chunk that is not mapped. */
struct chunk_mapping {
  VkDeviceMemory memory;
  char *address;
  uint64_t size;
};

/* Open the GPU with this UUID for mappings of up to BYTES of its VRAM.  The
 * driver's libraries start threads.  Returns NULL with the reason in REASON,
 * and logs no error.
 */
extern struct mapping *mapping_open (const uint8_t uuid[16], uint64_t bytes,
                                     char reason[PROVIDER_REASON]);

/* Whether mapping_open would succeed.  If not, REASON says why. */
extern bool mapping_probe (const uint8_t uuid[16], uint64_t bytes,
                           char reason[PROVIDER_REASON]);

/* Map the exported chunk FD of SIZE bytes, and touch its pages so that no
 * request has to.  FD stays the caller's.  One thread at a time.  Returns 0,
 * or -1 with the reason in REASON.  One reason is that the rest of the VRAM
 * that the CPU can see is left to other programs.
 */
extern int mapping_add (struct mapping *mapping, struct chunk_mapping *chunk,
                        int fd, uint64_t size, char reason[PROVIDER_REASON]);

/* Unmap CHUNK.  Does nothing if it is not mapped.  No copy of it may be under
 * way.  One thread at a time.
 */
extern void
mapping_remove (struct mapping *mapping, struct chunk_mapping *chunk);

/* Close the device.  With LEAVE, for a lost context, the driver is not
 * called.  Otherwise no chunk may be mapped.  MAPPING may be NULL.
 */
extern void mapping_close (struct mapping *mapping, bool leave);

/* Copy COUNT bytes between host memory and OFFSET in CHUNK, with any
 * alignment.  Any thread.  Return 0 when done, in the order that copy.h
 * describes, or -1 if the mapping is closed: then all of the bytes must be
 * copied by DMA.  The mapping is closed for good, with a message in the log,
 * when an access gets SIGBUS.  (The driver removes mappings when the GPU
 * sleeps, and restores them at the next access if it can.)  How much was
 * copied before is undefined, but no store is still under way.
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
