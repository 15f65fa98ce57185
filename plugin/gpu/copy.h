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
 *    (sfence on x86, dsb on ARM): they have left the CPU as posted writes, in
 *    front of all that any CPU does after it has seen the reply.
 *    - Read through the mapping next: the load is a read request on the same
 *      bus, and PCI Express lets no read request pass a posted write.
 *    - Copy by DMA next, in either direction: it begins with a write to the
 *      GPU's doorbell.  No posted write passes another one, so the GPU has the
 *      bytes before it learns of the copy.  Inside the GPU both paths meet in
 *      the same L2 cache.
 *    So no read is needed to push the writes out.  It would be needed for a
 *    device that learns of the copy on another bus, such as a second GPU that
 *    reads the first one's memory.
 *
 * 2. Copy by DMA.  It returns when the event recorded behind it is done.  All
 *    that precedes such an event is visible to the whole system.  (A copy from
 *    pageable memory may return before its bytes arrive, but DMA queues copy
 *    from pinned memory only.)
 *    - Read through the mapping next: the CPU may hold an old line of VRAM in
 *      a buffer.  The fence in front of non-temporal loads (mfence) discards
 *      it, and keeps the loads from being executed before the reply.
 *    - Write through the mapping next: the GPU has finished with these bytes.
 *
 * 3. A mapping that fails in the middle of a write.  Its stores are drained
 *    before the same bytes go by DMA, so by 1 they arrive first.
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
