/* nbdkit-vram: copies that suit write-combined memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_WCCOPY_H
#define VRAM_WCCOPY_H

#include <stddef.h>

/* The CPU sees VRAM as write-combined memory: nothing of it is ever in the
 * CPU's caches.  Stores gather in a few buffers of one line (64 bytes) each
 * and cross the bus when one is full or is drained.  An ordinary load is a
 * round trip over the bus for as few bytes as it asks for; a non-temporal load
 * fetches the line, and many of them are under way at a time.
 *
 * These functions take any alignment and any length on both sides, and see to
 * it that VRAM is accessed in naturally aligned pieces only (a mapping of the
 * device type, as ARM has it, faults on others), is never read in order to be
 * written, and is never written outside of [DST, DST + COUNT).  Reading may
 * touch all of the lines that the range has a part in.  They are not
 * instrumented for data races: clients may write and read the same bytes at
 * the same time if they like.
 *
 * The fences are in here, copy.h says what they are good for:
 *
 * - wccopy_to returns when the stores have left the CPU, in an order that
 *   whatever the CPU does next comes after.
 * - wccopy_from reads what VRAM holds after the call began, not what a buffer
 *   of the CPU still holds of it.
 */

/* Copy COUNT bytes from SRC in host memory to DST in VRAM. */
extern void wccopy_to (void *dst, const void *src, size_t count);

/* Copy COUNT bytes from SRC in VRAM to DST in host memory. */
extern void wccopy_from (void *dst, const void *src, size_t count);

/* Drain the buffers after a wccopy_to that was not let finish. */
extern void wccopy_drain (void);

/* Take the instructions called NAME ("avx512", "avx2", "sse4.1", "portable"),
 * or the best that this CPU has when NAME is NULL; before the first copy, and
 * while no copy is under way.  Returns the name of what is taken, NULL when
 * the CPU does not have what was asked for.
 */
extern const char *wccopy_choose (const char *name);

/* The name of what has been taken; the best is, where nothing has been. */
extern const char *wccopy_chosen (void);

#endif /* VRAM_WCCOPY_H */
