/* nbdkit-vram: copies through the CPU's mapping of VRAM or by DMA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_COPY_H
#define VRAM_COPY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/chunk.h"
#include "gpu/cuda/dma.h"
#include "gpu/vulkan/mapping.h"

/* ORDER BETWEEN THE PATHS
 *
 * A reply promises: every request that a client sends after it has the reply
 * to a write, on any connection and by either path, sees the bytes of that
 * write or of a later one.  Requests that are under way at the same time
 * happen in any order, byte by byte.  A request is answered when its copy has
 * returned.  After each kind of copy the promise holds:
 *
 * 1. Write through the mapping.  Its stores are drained before it returns
 * (sfence on x86, dsb on ARM): they have left the CPU as posted writes, in
 * front of whatever this CPU, or another one that learns of the reply, does
 * next.
 *    - Read through the mapping next: the load is a read request on the same
 * bus, and PCI Express lets no read request pass a posted write.
 *    - Copy by DMA next, either direction: it begins with a write to the GPU's
 *      doorbell, and no posted write passes another one, so that the GPU has
 *      the bytes before it learns that there is a copy to do.  Inside the GPU
 *      both paths meet in the same L2 cache.
 *    So nothing has to be read back to push the writes out.  That would be
 *    needed for a device that is told of the work by another path than its own
 *    bus, such as a second GPU that reads the first one's memory.
 *
 * 2. Copy by DMA.  It returns when the event recorded behind it is done, and
 *    what precedes an event that is done is visible to the whole system.  (A
 *    copy from pageable memory may return before its bytes arrive; DMA queues
 *    copy from pinned memory only.)
 *    - Read through the mapping next: the CPU may still have a line of VRAM in
 * a buffer of its own that it loaded before.  The fence in front of
 *      non-temporal loads (mfence) discards it, and keeps the loads from being
 *      done ahead of the reply.
 *    - Write through the mapping next: the GPU has done with these bytes.
 *
 * 3. A mapping that fails in the middle of a write: what it stored is drained
 *    before the same bytes go by DMA, and 1 says that they arrive first.
 */

/* What copies of one GPU need.  Constant while copies run, except LAST_DMA. */
struct copier {
  struct cuda *cuda;
  struct dma_queues *queues;
  struct mapping *mapping;   /* NULL: everything goes by DMA */
  struct copy_limits limits; /* limits in use */

  /* When a copy last used DMA, or would have used it without a rest, so that
   * only the first of several reads finds the GPU rested; clock_ns.
   */
  _Atomic uint64_t last_dma;
};

/* The GPU counts as rested after this time without DMA, in ns. */
#define COPY_REST_NS 10000000

/* Copy COUNT bytes at OFFSET in CHUNK, with any alignment.  Any thread.  If
 * the mapping fails, DMA is used instead.  Return 0, or -1 with errno = EIO
 * and a message in the log if DMA fails or the context is lost.
 */
extern int copy_read (struct copier *copier, const struct cuda_chunk *chunk,
                      uint64_t offset, void *buf, size_t count);
extern int copy_write (struct copier *copier, const struct cuda_chunk *chunk,
                       uint64_t offset, const void *buf, size_t count);

#endif /* VRAM_COPY_H */
