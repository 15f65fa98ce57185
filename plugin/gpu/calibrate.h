/* nbdkit-vram: what is tried before the first request goes through the mapping
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CALIBRATE_H
#define VRAM_CALIBRATE_H

#include "gpu/copy.h"

/* Prove that the mapping of CHUNK reaches the same VRAM as DMA, by writing by
 * one path and reading by the other, at both its ends; or, unless SPARE is
 * SPARE_ALL, at SPARE, while its ends must read the same by both paths.
 * Returns 0, 1 with the reason in REASON when that fails, or -1 with errno =
 * EIO, after the log has been told, when DMA fails.
 */
extern int
prove_mapping (struct copier *copier, const struct cuda_chunk *chunk,
               uint64_t spare, char reason[PROVIDER_REASON]);

/* Measure, in about 50 ms, which copies to use the mapping for, in CHUNK of at
 * least CALIBRATE_BYTES, whose content is lost.  Returns as prove_mapping.
 */
#define CALIBRATE_BYTES (1024 * KiB)
extern int
calibrate (struct copier *copier, const struct cuda_chunk *chunk,
           struct copy_limits *limits, char reason[PROVIDER_REASON]);

/* Limits that suit most GPUs, where nothing could be measured. */
extern const struct copy_limits calibrate_usual;

#endif /* VRAM_CALIBRATE_H */
