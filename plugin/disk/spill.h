/* nbdkit-vram: the file that slots move to when their VRAM is needed elsewhere
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SPILL_H
#define VRAM_SPILL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An unlinked file as large as the disk, in which each byte of the disk has
 * its own offset.  It is preallocated, and a thread overwrites all of it with
 * zeros once, from its start on: after that, neither a move nor a request
 * needs the file system to allocate or to convert anything, which might need
 * memory.  It is read and written past the page cache (O_DIRECT), by way of
 * buffers that are locked in RAM.
 */
struct spill;

/* Why there is none, one line. */
#define SPILL_REASON 128

/* Make a file of SIZE bytes in the folder DIR, or use FD of an earlier server
 * unless it is -1, of which READY bytes have been overwritten.  FD is taken
 * over.  Returns NULL with the reason in REASON.
 */
extern struct spill *spill_open (const char *dir, int fd, uint64_t size,
                                 uint64_t ready, char reason[SPILL_REASON]);

/* Whether spill_open could make a file of SIZE bytes in the folder DIR, as far
 * as can be told without it.  Returns 0, or -1 with the reason in REASON.
 */
extern int
spill_check (const char *dir, uint64_t size, char reason[SPILL_REASON]);

/* Start the thread, unless all has been overwritten.  Returns 0, or -1 after
 * log_error.
 */
extern int spill_start (struct spill *spill);

/* No request may be running.  NULL is allowed. */
extern void spill_close (struct spill *spill);

extern int spill_fd (const struct spill *spill);

/* How many bytes from the start on can be used. */
extern uint64_t spill_ready (const struct spill *spill);

/* Whether nothing more should move there: a write has failed. */
extern bool spill_failed (const struct spill *spill);

/* Copy COUNT bytes at OFFSET, any alignment; any thread.  Bytes of one block
 * that are written at the same time are the caller's to prevent.  Return 0, or
 * -1 with errno = EIO after the log has been told.
 */
extern int
spill_read (struct spill *spill, void *buf, size_t count, uint64_t offset);
extern int spill_write (struct spill *spill, const void *buf, size_t count,
                        uint64_t offset);

/* The same for whole blocks and a BUF that is aligned to a block: no copy. */
extern int spill_read_blocks (struct spill *spill, void *buf, size_t count,
                              uint64_t offset);
extern int spill_write_blocks (struct spill *spill, const void *buf,
                               size_t count, uint64_t offset);

/* COUNT bytes, aligned to a block, all of them there.  NULL after log_error.
 */
extern void *spill_buffer (size_t count);
extern void spill_buffer_free (void *buffer, size_t count);

#endif /* VRAM_SPILL_H */
