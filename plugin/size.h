/* nbdkit-vram: what size= means on a GPU
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SIZE_H
#define VRAM_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "common/units.h"
#include "disk/provider.h"

/* VRAM that size=max leaves free beside disk and headroom, because mappings
 * made after the allocation take some.
 */
#define SIZE_RESERVE (32 * MiB)

/* The value of size=, before the GPU is known. */
struct size {
  enum size_kind { SIZE_UNSET, SIZE_BYTES, SIZE_PERCENT, SIZE_MAX_FREE } kind;
  uint64_t bytes; /* SIZE_BYTES */
  double percent; /* SIZE_PERCENT: of all VRAM that the GPU has; (0, 100] */
};

/* How many bytes SIZE means on a GPU with TOTAL bytes of VRAM, of which FREE
 * are free and HEADROOM must stay free.  A size in bytes is rounded down to 4
 * KiB.  Max and percentages are rounded down to the GRANULARITY of VRAM,
 * unless they are smaller.  Returns 0, or -1 after log_error if the size or
 * HEADROOM is more than the GPU has, or a percentage makes less than 4 KiB.
 */
extern int size_resolve (const struct size *size, uint64_t total,
                         uint64_t free, uint64_t headroom, uint64_t *bytes);

/* An upper bound of the bytes that SIZE means, without knowing how many are
 * free.
 */
extern uint64_t size_estimate (const struct size *size, uint64_t total);

#endif /* VRAM_SIZE_H */
