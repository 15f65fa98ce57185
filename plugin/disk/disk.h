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

/* Send requests of every kind to VRAM where the disk holds no data, so that all
 * that they need is there before they are in a hurry; a full disk is only read.
 * Before the first client; the disk stays as it is.  Returns 0, or -1 after
 * log_error.
 */
extern int disk_warm_up (struct disk *disk);

/* For the governor, which asks it which slots hold data. */
extern struct blockmap *disk_blockmap (struct disk *disk);

/* The VRAM is lost: requests that wait for each other fail instead. */
extern void disk_fail (struct disk *disk);

/* No request may be running.  NULL is allowed. */
extern void disk_free (struct disk *disk);

/* Everything below: COUNT bytes at OFFSET, both unaligned if need be, within
 * the disk; any thread.  Requests that overlap while both are under way happen
 * in any order, byte by byte.  Return 0, or -1 with errno = EIO after the
 * log has been told.
 */
extern int
disk_read (struct disk *disk, void *buf, uint32_t count, uint64_t offset);
extern int disk_write (struct disk *disk, const void *buf, uint32_t count,
                       uint64_t offset);

/* The bytes read as zeros from now on.  Whole blocks never touch the GPU. */
extern int disk_zero (struct disk *disk, uint32_t count, uint64_t offset);

/* Whole blocks lose their data and read as zeros; the ends of the range that
 * are parts of blocks stay as they are.
 */
extern void disk_trim (struct disk *disk, uint32_t count, uint64_t offset);

/* How many bytes from OFFSET on, up to END, are all data or all hole; stores
 * which in *HOLE.  OFFSET < END.
 */
extern uint64_t disk_extent (const struct disk *disk, uint64_t offset,
                             uint64_t end, bool *hole);

/* How many bytes there are, and how many of them hold data. */
extern uint64_t disk_size (const struct disk *disk);
extern uint64_t disk_used (const struct disk *disk);

/* Whether the GPU still holds the data; as the provider's check. */
extern int disk_check (const struct disk *disk);

#endif /* VRAM_DISK_H */
