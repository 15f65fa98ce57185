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
 *
 * If the disk does not answer in time, the request that waits for it fails,
 * and so do all that need the file until it answers (transfer.h).
 */
struct spill;

/* Size of a reason, which is one line. */
#define SPILL_REASON 128

/* Make a file of SIZE bytes in the folder DIR, or use FD of an earlier server
 * unless it is -1, of which READY bytes have been overwritten.  FD is taken
 * over.  A request waits for the disk for up to TIMEOUT_MS.  Returns NULL with
 * the reason in REASON.
 */
extern struct spill *
spill_open (const char *dir, int fd, uint64_t size, uint64_t ready,
            unsigned timeout_ms, char reason[SPILL_REASON]);

/* Whether spill_open could make a file of SIZE bytes in the folder DIR, as far
 * as can be told without it.  Returns 0, or -1 with the reason in REASON.
 */
extern int
spill_check (const char *dir, uint64_t size, char reason[SPILL_REASON]);

/* Start the thread, unless all has been overwritten.  Returns 0, or -1 after
 * log_error.
 */
extern int spill_start (struct spill *spill);

/* No request may be running.  If the disk does not answer, the thread stays
 * until the process ends, with all of SPILL.  NULL is allowed.
 */
extern void spill_close (struct spill *spill);

extern int spill_fd (const struct spill *spill);

/* How many bytes at the start of the file can be used. */
extern uint64_t spill_ready (const struct spill *spill);

/* Whether that will be more. */
extern bool spill_grows (const struct spill *spill);

/* Whether more data should move there: no write has failed, and the disk
 * answers.
 */
extern bool spill_works (struct spill *spill);

/* Copy COUNT bytes at OFFSET, with any alignment.  Any thread, but the caller
 * must not write to one block twice at the same time.  Return 0, or -1 with
 * errno = EIO and a message in the log.
 */
extern int
spill_read (struct spill *spill, void *buf, size_t count, uint64_t offset);
extern int spill_write (struct spill *spill, const void *buf, size_t count,
                        uint64_t offset);

/*
 * For the governor, which moves whole blocks through one buffer.
 */

/* Allocate the buffer.  spill_close frees it.  Returns NULL after log_error.
 */
extern void *spill_move_buffer (struct spill *spill, size_t size);

/* How long a move that begins now waits for the disk: the end as clock_ms. */
extern uint64_t spill_until (const struct spill *spill);

/* As above, between the file and the buffer.  While spill_works is false, the
 * buffer must not be used.
 */
extern int spill_read_moved (struct spill *spill, size_t count,
                             uint64_t offset, uint64_t until_ms);
extern int spill_write_moved (struct spill *spill, size_t count,
                              uint64_t offset, uint64_t until_ms);

#endif /* VRAM_SPILL_H */
