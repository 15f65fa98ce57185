/* nbdkit-vram: copies between host memory and VRAM by DMA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DMA_H
#define VRAM_DMA_H

#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/context.h"

/* A lane is a CUDA stream with pinned staging memory; a copy holds one while
 * it moves.  The pool is made before the first client and allocates nothing
 * later.
 */
struct dma_queues;

#define DMA_QUEUES_MAX 64
/* Staging memory of one lane in bytes: at least two blocks. */
#define STAGING_MIN (8 * 1024)
#define STAGING_MAX (64 * 1024 * 1024)

/* Make COUNT lanes (1 to DMA_QUEUES_MAX) with STAGING bytes of staging memory each
 * (STAGING_MIN to STAGING_MAX, a multiple of 8 KiB).  The calling thread must
 * have entered the context.  Returns NULL after log_error.
 */
extern struct dma_queues *
dma_create (struct cuda *cuda, unsigned count, size_t staging);

/* Nothing may be copying any more. */
extern void dma_free (struct dma_queues *lanes);

/* Copy COUNT bytes from SRC in host memory to VRAM, or from VRAM to DST.  When
 * they return 0, the bytes are where any later copy sees them.  They wait
 * their turn, first come first served, while all lanes are busy.  Any thread.
 * Return -1 with errno = EIO after the log has been told (see cuda_failed); how
 * much was copied is then undefined.
 *
 * Neither the GPU nor a lane is waited for much longer than the context's time
 * limit while there is no answer of the driver's: the GPU is lost then.  What
 * cannot be helped is a call into the driver that does not return: it takes its
 * thread, its lane and its request with it.
 */
extern int dma_write (struct dma_queues *lanes, CUdeviceptr dst,
                      const void *src, size_t count);
extern int
dma_read (struct dma_queues *lanes, void *dst, CUdeviceptr src, size_t count);

/* Set COUNT bytes of VRAM to VALUE, without the bus.  As the copies above. */
extern int dma_set (struct dma_queues *lanes, CUdeviceptr dst,
                    unsigned char value, size_t count);

/* For whoever watches from another thread: count the answers of the driver, from
 * now on; and whether lanes are busy of which none was answered since *SEEN,
 * which is brought up to date.
 */
extern unsigned dma_completed (struct dma_queues *lanes);
extern bool dma_stalled (const struct dma_queues *lanes, unsigned *seen);

/* Send COUNT bytes through every lane and both ways, so that all that copies
 * need is there before they are in a hurry: SCRATCH is VRAM of at least
 * STAGING bytes that holds nothing.  Returns 0, or -1 as the copies do.
 */
extern int dma_warm_up (struct dma_queues *lanes, CUdeviceptr scratch);

#endif /* VRAM_DMA_H */
