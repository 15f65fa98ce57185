/* nbdkit-vram: which blocks of the disk hold data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_BLOCKMAP_H
#define VRAM_BLOCKMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A block is the unit in which the map knows whether there is data: the page
 * size of the machines that swap to this disk.
 */
#define BLOCK_SIZE 4096

/* One bit a block, set when the block holds data.  A clear bit means that the
 * block reads as zeros, whatever VRAM holds in its place.  All functions may
 * be called from any thread at any time.
 *
 * The order that makes this right, also when the process dies at any instant
 * and another goes on with the same bits: a bit is set after the block's data
 * is in VRAM and before the write is acknowledged.
 *
 * Writers claim the blocks that they write.  A write of a part of a block
 * without data writes all of the block, zeros around the part, because VRAM
 * holds something stale there; without the claim that could undo another write
 * to the same block.  A writer that meets a claimed block waits until the claim
 * is published or released.  Reads and clearing take no claim and never wait:
 *
 * - A read that found the bit set and is overtaken by a clear returns what was
 *   there before, which is right, since both ran at the same time.
 * - A clear of a claimed block leaves the claim.  The block that its writer
 *   publishes then holds all of the writer's data, as if the write had come
 *   after the clear.  A writer that wrote only a part, next to older data,
 *   releases instead, and then the clear stands, as if it had come last.
 */
struct blockmap;

/* How many bytes of memory the bits of BLOCKS blocks take. */
extern size_t blockmap_bytes (uint64_t blocks);

/* Make a map of BLOCKS blocks.  BITS is memory of blockmap_bytes (BLOCKS) to
 * use, aligned to 8 bytes, such as a shared mapping, whose bits are taken as
 * they are, other than those beyond the last block, which nothing looks at or
 * changes; NULL for memory of the map's own, with all bits clear.  All of it
 * is touched here, so that no later call faults.  Returns NULL with errno set
 * when there is no memory.
 */
extern struct blockmap *blockmap_create (uint64_t blocks, void *bits);

/* BITS that were handed in stay the caller's. */
extern void blockmap_free (struct blockmap *map);

/* Whether BLOCK holds data. */
extern bool blockmap_has_data (const struct blockmap *map, uint64_t block);

/* How many blocks from FIRST on, up to END (exclusive), are in the same state
 * as FIRST, at least 1; stores that state in *DATA.
 */
extern uint64_t blockmap_run (const struct blockmap *map, uint64_t first,
                              uint64_t end, bool *data);

/* How many blocks hold data. */
extern uint64_t blockmap_count (const struct blockmap *map);

/* Blocks [FIRST, FIRST + COUNT) hold no data any more. */
extern void
blockmap_clear (struct blockmap *map, uint64_t first, uint64_t count);

/* The most blocks that one claim covers: 4 MiB. */
#define CLAIM_BLOCKS 1024

/* The blocks that one writer has claimed; lives on the writer's stack. */
struct claim {
  uint64_t first_word;
  unsigned words;
  uint64_t mask[CLAIM_BLOCKS / 64 + 1];
};

/* Claim the blocks [FIRST, FIRST + COUNT), COUNT from 1 to CLAIM_BLOCKS.  Waits
 * while another writer has claimed one of them, and for nothing else.  A writer
 * holds at most one claim at a time, and ends it with blockmap_publish or
 * blockmap_release in any case.  Claims are taken in ascending order, so that
 * writers cannot wait for each other in a circle.  Returns false, with nothing
 * claimed, when it would have to wait after blockmap_fail.
 */
extern bool blockmap_claim (struct blockmap *map, uint64_t first,
                            uint64_t count, struct claim *claim);

/* Claims may never end: wake those that wait for one, and wait no more. */
extern void blockmap_fail (struct blockmap *map);

/* All of the claimed blocks hold the writer's data now; end the claim. */
extern void blockmap_publish (struct blockmap *map, struct claim *claim);

/* End the claim; whether the blocks hold data stays as it is. */
extern void blockmap_release (struct blockmap *map, struct claim *claim);

#endif /* VRAM_BLOCKMAP_H */
