/* nbdkit-vram: which way each copy goes, by the window or by a lane
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_COPY_H
#define VRAM_COPY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/dma.h"
#include "gpu/vulkan/mapping.h"

/* ORDER BETWEEN THE WAYS
 *
 * What a reply promises: every request that a client sends after it has the
 * reply to a write, on any connection, by either way, sees the bytes of that
 * write or of a later one.  Requests that are under way at the same time come
 * in any order, byte by byte.  A request is answered when its copy has
 * returned, and each copy ends in a superblock in which the promise holds:
 *
 * 1. Write by the window.  Its stores are drained before it returns (sfence on
 *    x86, dsb on ARM): they have left the CPU as posted writes, in front of
 *    whatever this CPU, or another one that learns of the reply, does next.
 *    - Read by the window next: the load is a read request on the same bus, and
 *      PCI Express lets no read request pass a posted write.
 *    - Copy by a lane next, either way: it begins with a write to the GPU's
 *      doorbell, and no posted write passes another one, so that the GPU has
 *      the bytes before it learns that there is a copy to do.  Inside the GPU
 *      both ways meet in the same L2 cache.
 *    So nothing has to be read back to push the writes out.  That would be
 *    needed for a device that is told of the work by another path than its own
 *    bus, such as a second GPU that reads the first one's memory.
 *
 * 2. Copy by a lane.  It returns when the event recorded behind it is done, and
 *    what precedes an event that is done is visible to the whole system.  (A
 *    pageable copy of the driver's may return earlier than its bytes arrive;
 *    lanes copy from pinned memory only.)
 *    - Read by the window next: the CPU may still have a line of VRAM in a
 *      buffer of its own that it loaded before.  The fence in front of
 *      non-temporal loads (mfence) discards it, and keeps the loads from being
 *      done ahead of the reply.
 *    - Write by the window next: the GPU has done with these bytes.
 *
 * 3. A window that is shut in the middle of a write: what it stored is drained
 *    before the same bytes go by a lane, and 1 says that they get there first.
 */

/* The largest copies, in bytes, that go by the window.  A GPU that has had
 * nothing to copy for a while takes long to begin, so the window is worth it
 * for larger reads then.
 */
struct copy_limits {
  uint64_t read_max, read_max_rested, write_max;
};

/* Who goes which way.  Constant after set-up, but for LAST_LARGE. */
struct copier {
  struct cuda *cuda;
  struct dma_queues *lanes;
  CUdeviceptr base;       /* the lanes' address of offset 0 */
  struct mapping *window; /* NULL: everything goes by a lane */

  /* What set-up found out, and a later server need not; and what is in force,
   * where a parameter may say something else.
   */
  struct copy_limits found, limits;

  /* When a lane was last used, or would have been but for a rest (so that of
   * a row of reads only the first finds the GPU rested); clock_ns.
   */
  _Atomic uint64_t last_large;
};

/* Everything goes by LANES, to CHUNKS. */
extern void copy_init (struct copier *route, struct dma_queues *lanes,
                       const struct chunks *chunks);

/* Prove that WINDOW reaches the same VRAM as the lanes, all of CHUNKS, whose
 * content is lost, and find out by trying, in about 50 ms, what to send where;
 * READ_MAX, unless NULL, decides for reads instead.  From then on the window is
 * used.  Returns 0, 1 with the reason in REASON when the window does not show
 * what the lanes do, and -1 with errno = EIO, after the log has been told, when
 * the lanes do not work.
 */
extern int
copy_add_mapping (struct copier *route, struct mapping *window,
                  const struct chunks *chunks, const uint64_t *read_max,
                  char reason[MAPPING_REASON]);

/* As copy_add_mapping, for CHUNKS whose content has to stay.  Only at the COUNT
 * offsets FREE, where 64 bytes each hold nothing, is anything written; elsewhere
 * both ways have to read the same.  LIMITS is what an earlier server found out,
 * or NULL, for limits that suit most GPUs.
 */
extern int
copy_adopt_mapping (struct copier *route, struct mapping *window,
                    const struct chunks *chunks, const uint64_t *free,
                    size_t count, const struct copy_limits *limits,
                    const uint64_t *read_max, char reason[MAPPING_REASON]);

/* Copy COUNT bytes at OFFSET; any alignment, any thread.  A copy that the
 * window cannot do, or not any more, goes by a lane instead; a request fails
 * only when that fails as well, or when the context is lost.  Return 0, or -1
 * with errno = EIO after the log has been told.
 */
extern int
copy_read (struct copier *route, void *buf, size_t count, uint64_t offset);
extern int copy_write (struct copier *route, const void *buf, size_t count,
                       uint64_t offset);

#endif /* VRAM_COPY_H */
