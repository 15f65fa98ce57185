/* nbdkit-vram: a size that depends on the GPU
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SIZE_H
#define VRAM_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "common/units.h"
#include "disk/provider.h"

/* What size=max leaves of free VRAM beside the disk and the headroom: mappings
 * take some when the disk has its VRAM already.
 */
#define SIZE_RESERVE (32 * MiB)

/* A size before the GPU is known. */
struct size {
  enum size_kind { SIZE_UNSET, SIZE_BYTES, SIZE_PERCENT, SIZE_MAX_FREE } kind;
  uint64_t bytes; /* SIZE_BYTES */
  double percent; /* SIZE_PERCENT: of all VRAM that the GPU has; (0, 100] */
};

/* How many bytes SIZE means on a GPU with TOTAL bytes of VRAM, of which FREE
 * are free and HEADROOM must stay free.  Rounded down to 4 KiB, what
 * was not said in bytes to the GRANULARITY of VRAM, where it is as much.
 * Returns 0, or -1 after log_error when it is more than the GPU has, or a
 * share that is less than 4 KiB.
 */
extern int size_resolve (const struct size *size, uint64_t total,
                         uint64_t free, uint64_t headroom, uint64_t *bytes);

/* How many bytes SIZE means, about and at most, before it is known how many
 * are free.
 */
extern uint64_t size_estimate (const struct size *size, uint64_t total);

#endif /* VRAM_SIZE_H */
