/* nbdkit-vram: the disk that the NBD client sees
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DISK_H
#define VRAM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/slots.h"

/* A disk that reads as zeros until written. */
struct disk;

/* Make a disk in SLOTS, which stay the caller's.  MAP_BITS is memory for the
 * block map as for blockmap_create.  Returns NULL after log_error.
 */
extern struct disk *disk_create (const struct slots *slots, void *map_bits);

/* Make requests of every kind to VRAM that holds no data, so that libraries,
 * memory and driver are ready for the first client.  A full disk is only
 * read.  The disk stays unchanged.  Call it before the first client.  Returns
 * 0, or -1 after log_error.
 */
extern int disk_warm_up (struct disk *disk);

/* The block map, for the governor. */
extern struct blockmap *disk_blockmap (struct disk *disk);

/* The GPU is lost: make requests that wait for each other fail. */
extern void disk_fail (struct disk *disk);

/* No request may be running.  NULL is allowed. */
extern void disk_free (struct disk *disk);

/* The functions below take COUNT bytes at OFFSET, which must be within the
 * disk and need no alignment.  Any thread may call them.  Requests that
 * overlap at the same time happen in any order, byte by byte.  Return 0, or -1
 * with errno = EIO after a message in the log.
 */
extern int
disk_read (struct disk *disk, void *buf, uint32_t count, uint64_t offset);
extern int disk_write (struct disk *disk, const void *buf, uint32_t count,
                       uint64_t offset);

/* The bytes read as zeros from now on.  Whole blocks never touch the GPU. */
extern int disk_zero (struct disk *disk, uint32_t count, uint64_t offset);

/* Whole blocks lose their data and read as zeros.  Parts of blocks at the ends
 * of the range stay unchanged.
 */
extern void disk_trim (struct disk *disk, uint32_t count, uint64_t offset);

/* How many bytes from OFFSET to END are all data or all hole, at least 1.
 * Stores which in *HOLE.  OFFSET must be less than END.
 */
extern uint64_t disk_extent (const struct disk *disk, uint64_t offset,
                             uint64_t end, bool *hole);

/* The size of the disk, and how much of it holds data, in bytes. */
extern uint64_t disk_size (const struct disk *disk);
extern uint64_t disk_used (const struct disk *disk);

/* Whether the GPU still holds the data, see the provider's check. */
extern int disk_check (const struct disk *disk);

#endif /* VRAM_DISK_H */
