/* nbdkit-vram: checks the mapping, and measures when it is faster
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CALIBRATE_H
#define VRAM_CALIBRATE_H

#include "gpu/copy.h"

/* Check that the mapping of CHUNK reaches the same VRAM as DMA.  With
 * SPARE_ALL, write by one path and read by the other at both ends of the
 * chunk.  Otherwise write and read at SPARE only, and compare what both paths
 * read at the ends.  Returns 0, 1 with the reason in REASON if the mapping
 * fails, or -1 with errno = EIO and a message in the log if DMA fails.
 */
extern int
prove_mapping (struct copier *copier, const struct cuda_chunk *chunk,
               uint64_t spare, char reason[PROVIDER_REASON]);

/* Measure which copies the mapping is faster for.  CHUNK must have at least
 * CALIBRATE_BYTES, and its content is lost.  Takes about 50 ms.  Returns as
 * prove_mapping.
 */
#define CALIBRATE_BYTES (1024 * KiB)
extern int
calibrate (struct copier *copier, const struct cuda_chunk *chunk,
           struct copy_limits *limits, char reason[PROVIDER_REASON]);

/* Limits that suit most GPUs, if nothing could be measured. */
extern const struct copy_limits calibrate_usual;

#endif /* VRAM_CALIBRATE_H */
