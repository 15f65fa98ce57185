/* nbdkit-vram: describes the disk to the next server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SUPERBLOCK_H
#define VRAM_SUPERBLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The layout's version.  Change it if a server could misunderstand the
 * superblock of another version.  Disks with elastic=yes have a layout of
 * their own, which older servers refuse.
 */
#define SUPERBLOCK_VERSION         1
#define SUPERBLOCK_VERSION_ELASTIC 2

/* The most chunks of a disk.  As many descriptors fit into one message (the
 * kernel's limit is 253).
 */
#define CHUNKS_MAX 128

/* Offset of struct superblock_shared, in bytes. */
#define SUPERBLOCK_SHARED_AT 2048

/* Offset of an elastic disk's slot table, CHUNKS_MAX words, in bytes. */
#define SUPERBLOCK_SLOTS_AT 3072

/* Constant while the disk lives. */
struct superblock_header {
  char magic[8];
  uint32_t version;
  uint32_t block_size;  /* bytes for each bit of the block map */
  uint64_t disk_size;   /* bytes */
  uint64_t asked;       /* size= in bytes, 0 for max or a percentage */
  uint64_t allocated;   /* bytes of all chunks, which are in order */
  uint64_t chunk_size;  /* bytes of each chunk but the last, a power of two */
  uint32_t chunk_count; /* elastic: number of slots, and the most chunks, all
                         * of one size
                         */
  uint32_t reserved;
  uint8_t gpu[16];   /* UUID */
  uint64_t checksum; /* of all of the above */
};

/* Fields that change.  Each is one word, which is never half written.  They
 * are not in the checksum, because a lost word costs time and no data.
 */
struct superblock_shared {
  _Atomic uint64_t generation; /* number of servers of this disk so far */
  _Atomic uint64_t ended;      /* not 0: the data was given up */

  /* What the first server measured: struct copy_limits, in bytes. */
  _Atomic uint64_t limits_known;
  _Atomic uint64_t read_max, read_max_rested, write_max;

  /* enum superblock_supervisor, stored by 'vram-swap daemon'.  With a
   * supervisor, only the supervisor ends the disk.
   */
  _Atomic uint64_t supervisor;

  /* Facts for programs that show the state of the disk.  Stored before the
   * server is ready, and not needed to adopt the disk.  0 or an empty string
   * if the server is too old to know them.
   */
  _Atomic uint64_t lost;      /* CLOCK_BOOTTIME in ms when the GPU was lost */
  _Atomic uint64_t copy_path; /* enum superblock_copy_path */
  _Atomic uint64_t quiet;     /* enum superblock_quiet */
  char copy_reason[128];      /* why DMA alone, one line */
  char gpu_name[64];
  char gpu_pci[16]; /* "0000:01:00.0" */

  /* Facts about elastic VRAM, in bytes unless the comment says otherwise.
   * With elastic=no, all but the first are 0.
   */
  _Atomic uint64_t elastic;    /* enum superblock_elastic */
  _Atomic uint64_t vram_held;  /* all chunks, including the reserve */
  _Atomic uint64_t vram_slots; /* slots in VRAM */
  _Atomic uint64_t vram_least; /* slots in VRAM that hold data and cannot move
                                * to a spill file
                                */
  _Atomic uint64_t spilled;    /* slots in the spill file */
  _Atomic uint64_t spill_size; /* of the spill file, as far as it has been
                                * overwritten; the next server goes on from
                                * there; 0: no file (yet)
                                */

  /* Since the disk was made: VRAM given back, by enum give_back, and the
   * number of slots that moved to the spill file and back.
   */
  _Atomic uint64_t given_back[4];
  _Atomic uint64_t moves_out, moves_back;

  /* The longest time from noticing that VRAM must be given back, for headroom=
   * or the limit, until enough of it was free, in us.
   */
  _Atomic uint64_t give_back_us_max;

  /* How much VRAM the server may hold, stored by the supervisor: UINT64_MAX
   * for no limit, 0 for limit=.  After storing it, the supervisor adds 1 to
   * WAKE and wakes it (futex(2), FUTEX_WAKE, not FUTEX_PRIVATE).  The server
   * copies LIMIT to LIMIT_OBEYED when it holds no more than that.  It goes on
   * trying while vram_least is more.
   */
  _Atomic uint64_t limit, limit_obeyed;
  _Atomic uint32_t wake;
  uint32_t reserved;

  /* Why elastic=yes or the spill file does not work, one line each. */
  char elastic_reason[128];
  char spill_reason[128];

  /* How long the machine had slept since boot when VRAM was last seen to hold
   * the data, in ns, plus 1.  0 if the server is too old to know.
   */
  _Atomic uint64_t slept;
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

/* One word of the slot table: a state, and with SLOT_VRAM the number of the
 * chunk, which is also part of its descriptor's name.
 */
enum slot_state {
  SLOT_EMPTY, /* no block holds data */
  SLOT_VRAM,
  SLOT_SPILL, /* in the spill file, at the slot's own offset */
};
#define SLOT_STATE(word)    ((enum slot_state) ((word) &0xff))
#define SLOT_CHUNK(word)    ((unsigned) ((word) >> 8 & 0xff))
#define SLOT_IN_VRAM(chunk) (SLOT_VRAM | (uint64_t) (chunk) << 8)

/* Flags of the running server, which the next one clears. */
#define SLOT_FROZEN UINT64_C (0x10000) /* it is being moved: writes wait */
#define SLOT_LOCKED UINT64_C (0x20000) /* its place changes: all wait */

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
  SUPERVISOR_NONE,  /* the server ends the disk when it ends */
  SUPERVISOR_KEEPS, /* the server leaves the disk to the next one */
  SUPERVISOR_ENDS,  /* the supervisor has told the server to end the disk */
};

/* The superblock is a memfd, mapped shared, which lives while a descriptor of
 * it is open.  The next server sees all that this one has stored, as another
 * thread would, whenever this one dies.
 *
 *   offset 0     struct superblock_header
 *   offset 2048  struct superblock_shared
 *   offset 3072  the slot table of an elastic disk
 *   offset 4096  the bits of the block map (blockmap.h)
 *
 * A server may die at any instant because a request takes effect in this
 * order:
 *
 * - Write: first the data, until any later copy sees it by either path, then
 *   the block's bit, then the reply.  If the server dies before the bit is
 *   set, the block still reads as zeros, afterwards as the data.  A block
 *   whose bit was set already is a mix of old and new bytes while it is
 *   written, like a sector of any disk.  The client has had no reply and
 *   writes it again.
 * - Trim, zero, write of zeros: the bits, then the reply.  So trimmed blocks
 *   stay trimmed across servers.  (NBD would allow trimmed data to come back.)
 * - Claims of blocks are not in the superblock: they end with the process.
 *
 * A slot of an elastic disk changes by one store of its word:
 *
 * - Commit: a chunk is zeroed and kept by the supervisor, then the slot's word
 *   names it, then the first write stores its data and sets the block's bit.
 *   A chunk that no word names belongs to the reserve, and its content does
 *   not matter.
 * - Release: when no request pins the slot and none of its bits is set, the
 *   word becomes SLOT_EMPTY.  Then the chunk is zeroed, and moved to the
 *   reserve or freed and forgotten by the supervisor.  So a block whose bit is
 *   set is never in an empty slot.
 * - Move: the slot is copied while no write pins it.  Then its word names the
 *   new place, and the content of the old one does not matter.  A place in the
 *   spill file lies below spill_size, which was stored before.
 */
struct superblock {
  int fd; /* -1: there is no superblock */
  struct superblock_header *header;
  struct superblock_shared *shared;
  _Atomic uint64_t *slots; /* the slot table, NULL: the disk is not elastic */
  void *bits;
  uint64_t size; /* of the memfd, bytes */
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

/* Make the superblock of a new disk, with all bits clear and all slots empty.
 * Copies HEADER, but sets magic, block_size, checksum, and version unless it
 * is SUPERBLOCK_VERSION_ELASTIC.  Returns 0, or -1 after log_error.
 */
extern int superblock_create (struct superblock *superblock,
                              const struct superblock_header *header);

/* Map and check the superblock FD of another server's disk.  FD is taken over
 * in any case.  Returns 0, or -1 after log_error.
 */
extern int superblock_open (struct superblock *superblock, int fd);

/* Find a block in [FIRST, END) that holds no data or lies beyond the disk's
 * end.  Returns false if there is none.
 */
extern bool
superblock_find_free (const struct superblock *superblock, uint64_t first,
                      uint64_t end, uint64_t *block);

/* Unmap and close it.  The memory is freed when no descriptor of it is left.
 */
extern void superblock_close (struct superblock *superblock);

#endif /* VRAM_SUPERBLOCK_H */
