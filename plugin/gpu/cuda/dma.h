/* nbdkit-vram: copies between host memory and VRAM by DMA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DMA_H
#define VRAM_DMA_H

#include <stddef.h>
#include <stdint.h>

#include "disk/provider.h"
#include "gpu/cuda/context.h"

/* A DMA queue is a CUDA stream with pinned staging memory.  A copy holds a
 * queue while it runs.  The pool of queues is made before the first client,
 * and allocates nothing later.
 */
struct dma_queues;

/* Make COUNT queues (1 to DMA_QUEUES_MAX) with STAGING bytes of staging memory
 * each (STAGING_MIN to STAGING_MAX, a multiple of 8 KiB).  The calling thread
 * must have entered the context.  Returns NULL after log_error.
 */
extern struct dma_queues *
dma_create (struct cuda *cuda, unsigned count, size_t staging);

/* No copy may be under way. */
extern void dma_free (struct dma_queues *queues);

/* Copy COUNT bytes from SRC in host memory to VRAM, or from VRAM to DST.  Wait
 * while all queues are busy.  Any thread.  Return 0 when every later copy will
 * see the bytes.  Return -1 with errno = EIO after an error, which is logged
 * (see cuda_failed), or if the GPU is lost.  How much was copied is then
 * undefined.  The watchdog bounds every wait, also inside the driver, and then
 * declares the GPU lost.
 */
extern int dma_write (struct dma_queues *queues, CUdeviceptr dst,
                      const void *src, size_t count);
extern int
dma_read (struct dma_queues *queues, void *dst, CUdeviceptr src, size_t count);

/* Set COUNT bytes of VRAM to VALUE, without the bus.  As the copies above. */
extern int dma_set (struct dma_queues *queues, CUdeviceptr dst,
                    unsigned char value, size_t count);

/* Ask the driver whether the context still works, by a query of an idle
 * stream, because copies by the mapping would not notice.  Does nothing if all
 * queues are busy.  Returns 0, or -1 with errno = EIO after the GPU was
 * declared lost.
 */
extern int dma_query (struct dma_queues *queues);

/* Prepare the calling thread for copies, so that its first one takes no longer
 * than others.  Does nothing if that is done or all queues are busy.  Returns
 * 0, or -1 with errno = EIO.
 */
extern int dma_prepare_thread (struct dma_queues *queues);

/* Copy through every queue in both directions, so that the driver has
 * allocated all that copies need.  SCRATCH is VRAM of at least STAGING bytes,
 * whose content is lost.  Returns 0, or -1 as the copies do.
 */
extern int dma_warm_up (struct dma_queues *queues, CUdeviceptr scratch);

#endif /* VRAM_DMA_H */
