/* nbdkit-vram: reads and writes of a file, waited for no longer than a time
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_TRANSFER_H
#define VRAM_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A thread that reads or writes a disk that does not answer is lost: the
 * kernel lets no signal end its wait.  So the kernel reads and writes on its
 * own (io_submit(2)), and the thread waits for a time.  After that the buffer
 * is the disk's until it answers: the transfer is late.
 *
 * One transfer has one buffer, is one thread's at a time, and does one thing
 * at a time.
 */
struct transfer {
  unsigned long context; /* aio_context_t; <linux/aio_abi.h> defines
                          * BLOCK_SIZE
                          */
  char *buffer;          /* SIZE bytes, aligned to a block */
  size_t size;
  bool late;
};

/* Returns 0, or -1 with errno set and nothing to close. */
extern int transfer_open (struct transfer *t, size_t size);

/* The process is ending, if T is late: what it has is left to the kernel.  A
 * struct of zeros is allowed.
 */
extern void transfer_close (struct transfer *t);

/* Copy COUNT bytes between the buffer at AT and FD at OFFSET, in one go, and
 * wait until UNTIL_MS (clock_ms).  T is not late.  Return as pread(2) and
 * pwrite(2); errno = ETIMEDOUT: now it is.
 */
extern ssize_t
transfer_read (struct transfer *t, int fd, size_t at, size_t count,
               uint64_t offset, uint64_t until_ms);
extern ssize_t
transfer_write (struct transfer *t, int fd, size_t at, size_t count,
                uint64_t offset, uint64_t until_ms);

/* Whether T is late still. */
extern bool transfer_is_late (struct transfer *t);

#endif /* VRAM_TRANSFER_H */
