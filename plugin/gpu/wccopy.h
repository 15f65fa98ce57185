/* nbdkit-vram: copies to and from write-combined memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_WCCOPY_H
#define VRAM_WCCOPY_H

#include <stddef.h>

/* The CPU sees VRAM as write-combined memory, which is never cached.  Stores
 * collect in a few buffers of one line (64 bytes) each, and cross the bus when
 * a buffer is full or drained.  An ordinary load is a round trip over the bus
 * for a few bytes.  A non-temporal load fetches a whole line, and many of them
 * are under way at a time.
 *
 * These functions take any alignment and length.  They access VRAM in
 * naturally aligned pieces only (ARM's device memory faults on others), never
 * read it in order to write, and never write outside of [DST, DST + COUNT).
 * Reads may touch whole lines around the range.  They are not instrumented for
 * data races, because clients may write and read the same bytes at the same
 * time.
 *
 * They contain the fences that copy.h explains:
 *
 * - wccopy_to returns when the stores have left the CPU, in front of all that
 *   the CPU does next.
 * - wccopy_from reads what VRAM holds after the call began, not old content of
 *   a buffer of the CPU.
 */

/* Copy COUNT bytes from SRC in host memory to DST in VRAM. */
extern void wccopy_to (void *dst, const void *src, size_t count);

/* Copy COUNT bytes from SRC in VRAM to DST in host memory. */
extern void wccopy_from (void *dst, const void *src, size_t count);

/* Drain the buffers after a wccopy_to that was interrupted. */
extern void wccopy_drain (void);

/* Choose the instructions NAME ("avx512", "avx2", "sse4.1", "portable"), or if
 * NAME is NULL the best of this CPU.  Call it before the first copy, or while
 * no copy is under way.  Returns the name, or NULL if the CPU does not have
 * these instructions.
 */
extern const char *wccopy_choose (const char *name);

/* The name of the instructions in use.  Chooses the best ones if there was no
 * choice yet.
 */
extern const char *wccopy_chosen (void);

#endif /* VRAM_WCCOPY_H */
