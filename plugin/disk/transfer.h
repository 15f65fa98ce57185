/* nbdkit-vram: reads and writes of a file with a time limit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_TRANSFER_H
#define VRAM_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* If a disk does not answer, no signal ends the wait of a thread in read(2) or
 * write(2).  So the kernel copies asynchronously (io_submit(2)), and the
 * thread waits with a limit.  If the limit is over, the transfer is late, and
 * its buffer must not be used until the disk answers.
 *
 * A transfer has one buffer, and may be used by one thread at a time.
 */
struct transfer {
  unsigned long context; /* aio_context_t; <linux/aio_abi.h> defines
                          * BLOCK_SIZE
                          */
  char *buffer;          /* SIZE bytes, aligned to a block */
  size_t size;
  bool late;
};

/* Allocate the buffer.  Returns 0, or -1 with errno set and nothing to close.
 */
extern int transfer_open (struct transfer *t, size_t size);

/* Free the buffer.  If T is late, it stays until the process ends.  T may be
 * all zeros.
 */
extern void transfer_close (struct transfer *t);

/* Copy COUNT bytes between the buffer at AT and FD at OFFSET, by one request,
 * and wait until UNTIL_MS (clock_ms).  T must not be late.  Return as pread(2)
 * and pwrite(2), or -1 with errno = ETIMEDOUT: then T is late.
 */
extern ssize_t
transfer_read (struct transfer *t, int fd, size_t at, size_t count,
               uint64_t offset, uint64_t until_ms);
extern ssize_t
transfer_write (struct transfer *t, int fd, size_t at, size_t count,
                uint64_t offset, uint64_t until_ms);

/* Whether T is still late. */
extern bool transfer_is_late (struct transfer *t);

#endif /* VRAM_TRANSFER_H */
