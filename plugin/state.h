/* nbdkit-vram: what a later server has to know of this disk besides its data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_STATE_H
#define VRAM_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "libcuda.h"

/* Changes whenever a server could misunderstand another one's state. */
#define STATE_VERSION 1

/* Where the words are. */
#define STATE_WORDS_AT 2048

/* What does not change while the disk lives. */
struct state_header {
  char magic[8];
  uint32_t version;
  uint32_t block_size; /* bytes that one bit of the block map stands for */
  uint64_t disk_size;  /* bytes */
  uint64_t asked;      /* bytes that size= asked for, 0 unless it said bytes */
  uint64_t allocated;  /* bytes of all chunks, which are in order */
  uint64_t chunk_size; /* bytes of each chunk but the last */
  uint32_t chunk_count;
  uint32_t reserved;
  CUuuid gpu;
  uint64_t checksum; /* of all of the above */
};

/* What changes, each one word, which is never half written.  A word that is
 * lost costs time and no data, so the checksum leaves them out.
 */
struct state_words {
  _Atomic uint64_t generation; /* how many servers had the disk, from 1 */
  _Atomic uint64_t ended;      /* not 0: the data was given up */

  /* What the first server found out about the window (see route.h). */
  _Atomic uint64_t limits_known;
  _Atomic uint64_t read_max, read_max_rested, write_max;

  /* Who keeps the disk, and is the only one then to say that it ends: enum
   * state_keeper, stored by 'vram-swap serve'.
   */
  _Atomic uint64_t keeper;
};

enum state_keeper {
  STATE_KEEPER_NONE,  /* a server that is told to end ends the disk */
  STATE_KEEPER_KEEPS, /* it leaves the disk to the next one */
  STATE_KEEPER_ENDS,  /* the keeper has told it to end the disk */
};

/* The state lies in a memfd, which lives for as long as a descriptor of it
 * does, and is mapped shared: what this process has stored is there for the
 * next one, whatever instant this one dies at, as it would be for another
 * thread.
 *
 *   offset 0     struct state_header
 *   offset 2048  struct state_words
 *   offset 4096  the bits of the block map (blockmap.h)
 *
 * THE ORDER of a request's effects makes every such instant a good one:
 *
 * - Write: first the data, by either way, until it is where any later copy
 *   sees it; then the block's bit; then the reply.  A server that dies before
 *   the bit is set leaves a block that reads as before, zeros; one that dies
 *   after it leaves the data.  A block that had its bit already holds some of
 *   the old bytes and some of the new while it is being written, as a sector
 *   of any disk would; its writer has had no reply and writes it again.
 * - Trim, zero, write of zeros: the bits, then the reply.  So what was
 *   trimmed stays trimmed, also across servers.  (What is promised is less: it
 *   may come back as it was.)
 * - Claims of blocks that are being filled are private: they end with the
 *   process that had them.
 */
struct state {
  int fd; /* -1: there is none, and nothing else counts */
  struct state_header *header;
  struct state_words *words;
  void *bits;
  uint64_t size; /* bytes of the whole */
};

#define STATE_NONE                                                             \
  {                                                                            \
    .fd = -1                                                                   \
  }

/* Make the state of a new disk with HEADER, of which magic, version,
 * block_size and checksum are filled in here, all bits clear.  Returns 0, or -1
 * after nbdkit_error.
 */
extern int
state_create (struct state *state, const struct state_header *header);

/* Map the state of another server's disk and check all of it that can be
 * checked by itself; FD is taken over in any case.  Returns 0, or -1 after
 * nbdkit_error.
 */
extern int state_open (struct state *state, int fd);

/* Find a block of [FIRST, END) that holds nothing, or that lies beyond the
 * disk's end.  Returns false when there is none.
 */
extern bool state_find_free (const struct state *state, uint64_t first,
                             uint64_t end, uint64_t *block);

/* The memory is freed when nobody else has it. */
extern void state_close (struct state *state);

#endif /* VRAM_STATE_H */
