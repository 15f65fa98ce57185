/* nbdkit-vram: copies between host memory and VRAM by DMA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DMA_H
#define VRAM_DMA_H

#include <stddef.h>
#include <stdint.h>

#include "disk/provider.h"
#include "gpu/cuda/context.h"

/* A DMA queue is a CUDA stream with pinned staging memory; a copy holds one
 * while it moves.  The pool is made before the first client and allocates
 * nothing later.
 */
struct dma_queues;

/* Make COUNT queues (1 to DMA_QUEUES_MAX) with STAGING bytes of staging memory
 * each (STAGING_MIN to STAGING_MAX, a multiple of 8 KiB).  The calling thread
 * must have entered the context.  Returns NULL after log_error.
 */
extern struct dma_queues *
dma_create (struct cuda *cuda, unsigned count, size_t staging);

/* Nothing may be copying any more. */
extern void dma_free (struct dma_queues *queues);

/* Copy COUNT bytes from SRC in host memory to VRAM, or from VRAM to DST.  When
 * they return 0, the bytes are where any later copy sees them.  They wait
 * while all queues are busy.  Any thread.
 * Return -1 with errno = EIO after the log has been told (see cuda_failed),
 * and when the GPU is lost; how much was copied is then undefined.  The
 * watchdog bounds every wait, inside the driver too: the GPU counts as lost
 * then.
 */
extern int dma_write (struct dma_queues *queues, CUdeviceptr dst,
                      const void *src, size_t count);
extern int
dma_read (struct dma_queues *queues, void *dst, CUdeviceptr src, size_t count);

/* Set COUNT bytes of VRAM to VALUE, without the bus.  As the copies above. */
extern int dma_set (struct dma_queues *queues, CUdeviceptr dst,
                    unsigned char value, size_t count);

/* Ask the driver whether the context still works, unless all queues are busy:
 * a query of an idle stream reports a context that was killed, which copies by
 * the mapping do not notice.  Returns 0, or -1 with errno = EIO and the GPU
 * lost.
 */
extern int dma_query (struct dma_queues *queues);

/* Do what the calling thread's first copy would take longer for, unless it is
 * done or all queues are busy.  Returns 0, or -1 with errno = EIO.
 */
extern int dma_prepare_thread (struct dma_queues *queues);

/* Send COUNT bytes through every queue and both ways, so that all that copies
 * need is there before they are in a hurry: SCRATCH is VRAM of at least
 * STAGING bytes that holds nothing.  Returns 0, or -1 as the copies do.
 */
extern int dma_warm_up (struct dma_queues *queues, CUdeviceptr scratch);

#endif /* VRAM_DMA_H */
