/* nbdkit-vram: what a later server has to know of this disk besides its data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SUPERBLOCK_H
#define VRAM_SUPERBLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Changes whenever a server could misunderstand another one's superblock.  A
 * disk whose VRAM comes and goes (elastic=yes) has a layout of its own, which
 * older servers refuse; all others keep theirs.
 */
#define SUPERBLOCK_VERSION         1
#define SUPERBLOCK_VERSION_ELASTIC 2

/* So many descriptors fit wherever descriptors are passed (the kernel passes
 * 253 in one message).
 */
#define CHUNKS_MAX 128

/* Where struct superblock_shared is, in bytes. */
#define SUPERBLOCK_SHARED_AT 2048

/* Where an elastic disk has its slot table: CHUNKS_MAX words. */
#define SUPERBLOCK_SLOTS_AT 3072

/* What does not change while the disk lives. */
struct superblock_header {
  char magic[8];
  uint32_t version;
  uint32_t block_size; /* bytes that one bit of the block map stands for */
  uint64_t disk_size;  /* bytes */
  uint64_t asked;      /* bytes that size= asked for, 0 unless it said bytes */
  uint64_t allocated;  /* bytes of all chunks, which are in order */
  uint64_t chunk_size; /* bytes of each chunk but the last, a power of two */
  uint32_t chunk_count; /* of an elastic disk: its slots, and the most chunks,
                         * all of one size
                         */
  uint32_t reserved;
  uint8_t gpu[16];   /* UUID */
  uint64_t checksum; /* of all of the above */
};

/* What changes, each one word, which is never half written.  The checksum
 * leaves these out: a word that is lost costs time and no data.
 */
struct superblock_shared {
  _Atomic uint64_t generation; /* how many servers had the disk, from 1 */
  _Atomic uint64_t ended;      /* not 0: the data was given up */

  /* What the first server measured: struct copy_limits, in bytes. */
  _Atomic uint64_t limits_known;
  _Atomic uint64_t read_max, read_max_rested, write_max;

  /* enum superblock_supervisor, stored by 'vram-swap daemon', which alone says
   * then that the disk ends.
   */
  _Atomic uint64_t supervisor;

  /* Facts for programs that show the state of the disk, stored before the
   * server is ready and not needed to adopt it.  0, or an empty string, where
   * the server is too old to say.
   */
  _Atomic uint64_t lost;      /* CLOCK_BOOTTIME in ms when the GPU was lost */
  _Atomic uint64_t copy_path; /* enum superblock_copy_path */
  _Atomic uint64_t quiet;     /* enum superblock_quiet */
  char copy_reason[128];      /* why DMA alone, one line */
  char gpu_name[64];
  char gpu_pci[16]; /* "0000:01:00.0" */

  /* Facts about elastic VRAM.  Bytes, unless the comment says otherwise; all 0
   * but the first one where elastic=no, or where the server is too old.
   */
  _Atomic uint64_t elastic;    /* enum superblock_elastic */
  _Atomic uint64_t vram_held;  /* of all chunks, the reserve among them */
  _Atomic uint64_t vram_slots; /* of the slots that are in VRAM */
  _Atomic uint64_t vram_least; /* what has to stay in VRAM: of slots that hold
                                * data, while they cannot move to a spill file
                                */
  _Atomic uint64_t spilled;    /* of the slots that are in the spill file */
  _Atomic uint64_t spill_size; /* of the spill file, as far as it has been
                                * overwritten; the next server goes on from
                                * there.  0: there is none (yet)
                                */

  /* Since the disk was made: what was given back, by enum give_back, and the
   * number of slots that moved to the spill file and from it.
   */
  _Atomic uint64_t given_back[4];
  _Atomic uint64_t moves_out, moves_back;

  /* The longest time from the moment when the server saw that VRAM must be
   * given back for headroom= or the limit until enough of it was free, in us.
   */
  _Atomic uint64_t give_back_us_max;

  /* The one fact here that the supervisor stores: how much VRAM the server may
   * hold, UINT64_MAX for no limit, 0 for limit=.  After storing it, add 1 to
   * WAKE and wake it (futex(2), FUTEX_WAKE, not FUTEX_PRIVATE).  The server
   * stores into LIMIT_OBEYED what it found in LIMIT as soon as it holds no
   * more than that; while it cannot, because vram_least is more, it goes on
   * trying.
   */
  _Atomic uint64_t limit, limit_obeyed;
  _Atomic uint32_t wake;
  uint32_t reserved;

  /* Why elastic=yes, or a spill file, is not possible, one line each. */
  char elastic_reason[128];
  char spill_reason[128];
};

enum superblock_elastic {
  ELASTIC_UNKNOWN,
  ELASTIC_NO,
  ELASTIC_YES,
};

/* Why VRAM was given back. */
enum give_back {
  GIVE_BACK_TRIM,     /* the slot's last block was trimmed */
  GIVE_BACK_HEADROOM, /* less than headroom= was free */
  GIVE_BACK_LIMIT,    /* more than the limit was held */
};

/* One word of the slot table: a state, and of SLOT_VRAM the number of the
 * chunk, which is also the number in the name of its descriptor.
 */
enum slot_state {
  SLOT_EMPTY, /* no block of it holds data */
  SLOT_VRAM,
  SLOT_SPILL, /* in the spill file, at the slot's own offset */
};
#define SLOT_STATE(word)    ((enum slot_state) ((word) &0xff))
#define SLOT_CHUNK(word)    ((unsigned) ((word) >> 8 & 0xff))
#define SLOT_IN_VRAM(chunk) (SLOT_VRAM | (uint64_t) (chunk) << 8)

/* Of the server that stored it alone, and meaningless to the next one. */
#define SLOT_FROZEN UINT64_C (0x10000) /* is being moved: writes wait */
#define SLOT_LOCKED UINT64_C (0x20000) /* changes its place: all wait */

enum superblock_copy_path {
  COPY_PATH_UNKNOWN,
  COPY_PATH_MAPPING, /* the CPU's mapping of VRAM and DMA */
  COPY_PATH_DMA,     /* DMA alone */
};

/* Whether the server keeps the GPU's clocks down while it is idle. */
enum superblock_quiet {
  QUIET_UNKNOWN,
  QUIET_YES,
  QUIET_BOOST,      /* boost=yes, or CUDA_DISABLE_PERF_BOOST=0 */
  QUIET_OLD_DRIVER, /* the driver is older than 580.105.08 */
};

enum superblock_supervisor {
  SUPERVISOR_NONE,  /* a server that is told to end ends the disk */
  SUPERVISOR_KEEPS, /* it leaves the disk to the next one */
  SUPERVISOR_ENDS,  /* the supervisor has told it to end the disk */
};

/* The superblock lies in a memfd, which lives for as long as a descriptor of
 * it does, and is mapped shared: what this process has stored is there for the
 * next one, whatever instant this one dies at, as it would be for another
 * thread.
 *
 *   offset 0     struct superblock_header
 *   offset 2048  struct superblock_shared
 *   offset 3072  the slot table of an elastic disk
 *   offset 4096  the bits of the block map (blockmap.h)
 *
 * THE ORDER of a request's effects makes every such instant a good one:
 *
 * - Write: first the data, by either path, until any later copy sees
 *   it; then the block's bit; then the reply.  A server that dies before
 *   the bit is set leaves a block that reads as before, zeros; one that dies
 *   after it leaves the data.  A block that had its bit already holds some of
 *   the old bytes and some of the new while it is being written, as a sector
 *   of any disk would; its writer has had no reply and writes it again.
 * - Trim, zero, write of zeros: the bits, then the reply.  So what was
 *   trimmed stays trimmed, also across servers.  (What is promised is less: it
 *   may come back as it was.)
 * - Claims of blocks that are being filled are private: they end with the
 *   process that had them.
 *
 * A slot of an elastic disk changes by one store of its word:
 *
 * - Commit: a chunk is zeroed, and kept by the supervisor; then the slot's
 *   word names it; then the data of the first write; then the block's bit.  A
 *   chunk that no word names is of the reserve, and its content means nothing.
 * - Release: no request is at the slot, and none of its blocks has its bit;
 *   then its word says that it is empty; then the chunk is zeroed, for the
 *   reserve or to be freed; then the supervisor forgets it.  So a block that
 *   has its bit lies in a slot that is not empty, at every instant.
 * - Move: no write is at the slot while all of it is copied; when the copy is
 *   complete, its word names the new place; then the old one means nothing.  A
 *   place in the spill file lies below spill_size, which was stored before.
 */
struct superblock {
  int fd; /* -1: there is none, and nothing else counts */
  struct superblock_header *header;
  struct superblock_shared *shared;
  _Atomic uint64_t *slots; /* the slot table, NULL: the disk is not elastic */
  void *bits;
  uint64_t size; /* bytes of the whole */
};

#define SUPERBLOCK_NONE                                                       \
  {                                                                           \
    .fd = -1                                                                  \
  }

/* Whether servers of this build know the layout VERSION. */
static inline bool
superblock_version_known (uint32_t version)
{
  return version == SUPERBLOCK_VERSION ||
         version == SUPERBLOCK_VERSION_ELASTIC;
}

/* Make the superblock of a new disk with HEADER, of which magic, block_size,
 * checksum, and version unless it is SUPERBLOCK_VERSION_ELASTIC, are filled in
 * here, all bits clear and all slots empty.  Returns 0, or -1 after log_error.
 */
extern int superblock_create (struct superblock *superblock,
                              const struct superblock_header *header);

/* Map the superblock of another server's disk and check all of it that can be
 * checked by itself; FD is taken over in any case.  Returns 0, or -1 after
 * log_error.
 */
extern int superblock_open (struct superblock *superblock, int fd);

/* Find a block of [FIRST, END) that holds nothing, or that lies beyond the
 * disk's end.  Returns false when there is none.
 */
extern bool
superblock_find_free (const struct superblock *superblock, uint64_t first,
                      uint64_t end, uint64_t *block);

/* The memory is freed when no other process has it. */
extern void superblock_close (struct superblock *superblock);

#endif /* VRAM_SUPERBLOCK_H */
