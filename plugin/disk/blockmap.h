/* nbdkit-vram: which blocks of the disk hold data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_BLOCKMAP_H
#define VRAM_BLOCKMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The unit of the map, in bytes: the page size of x86-64. */
#define BLOCK_SIZE 4096

/* One bit a block, set when the block holds data.  A clear bit means that the
 * block reads as zeros, whatever VRAM holds in its place.  All functions may
 * be called from any thread at any time.
 *
 * A bit is set after the block's data is in VRAM and before the write is
 * acknowledged.  So the process may die at any instant, and another one can go
 * on with the same bits.
 *
 * Writers claim the blocks that they write.  A write to a part of a block
 * without data fills the rest of the block with zeros, because VRAM holds
 * stale bytes there.  Without the claim this could overwrite another write to
 * the same block.  A writer that finds a block claimed waits until the claim
 * is published or released.  Reads and clears take no claim and never wait:
 *
 * - A read that has found the bit set, and is overtaken by a clear, returns
 *   the old data.  This is right because both ran at the same time.
 * - A clear does not end a claim.  If the writer then publishes, the block
 *   holds all of the writer's data, as if the write had come after the clear.
 *   A writer that wrote only a part, next to older data, releases instead, as
 *   if the clear had come last.
 */
struct blockmap;

/* The size of the bits of BLOCKS blocks, in bytes. */
extern size_t blockmap_bytes (uint64_t blocks);

/* Make a map of BLOCKS blocks.  BITS is NULL, for the map's own memory with
 * all bits clear, or memory of blockmap_bytes (BLOCKS) bytes, aligned to 8,
 * such as a shared mapping.  Its bits are used as they are, and those beyond
 * the last block are ignored.  All memory is touched here, so that no later
 * call faults.  Returns NULL with errno set.
 */
extern struct blockmap *blockmap_create (uint64_t blocks, void *bits);

/* BITS of the caller are not freed. */
extern void blockmap_free (struct blockmap *map);

/* Whether BLOCK holds data. */
extern bool blockmap_has_data (const struct blockmap *map, uint64_t block);

/* How many blocks from FIRST to END (exclusive) are in the same state as
 * FIRST, at least 1. Stores in *DATA whether they hold data.
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

/* Claim the blocks [FIRST, FIRST + COUNT), COUNT from 1 to CLAIM_BLOCKS.
 * Waits only while another writer has claimed one of them.  A writer may hold
 * one claim at a time, and must end it with blockmap_publish or
 * blockmap_release.  Words are claimed in ascending order, so that writers
 * cannot deadlock.  Returns false, with nothing claimed, if it would have to
 * wait after blockmap_fail.
 */
extern bool blockmap_claim (struct blockmap *map, uint64_t first,
                            uint64_t count, struct claim *claim);

/* The GPU is lost and claims may never end: wake all waiting writers, and
 * never wait again.
 */
extern void blockmap_fail (struct blockmap *map);

/* All of the claimed blocks hold the writer's data now; end the claim. */
extern void blockmap_publish (struct blockmap *map, struct claim *claim);

/* End the claim; whether the blocks hold data stays as it is. */
extern void blockmap_release (struct blockmap *map, struct claim *claim);

#endif /* VRAM_BLOCKMAP_H */
