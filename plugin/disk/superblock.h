/* nbdkit-vram: what a later server has to know of this disk besides its data
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SUPERBLOCK_H
#define VRAM_SUPERBLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Changes whenever a server could misunderstand another one's superblock. */
#define SUPERBLOCK_VERSION 1

/* So many descriptors fit wherever descriptors are passed (the kernel passes 253
 * in one message).
 */
#define CHUNKS_MAX 128

/* Where struct superblock_shared is, in bytes. */
#define SUPERBLOCK_SHARED_AT 2048

/* What does not change while the disk lives. */
struct superblock_header {
  char magic[8];
  uint32_t version;
  uint32_t block_size; /* bytes that one bit of the block map stands for */
  uint64_t disk_size;  /* bytes */
  uint64_t asked;      /* bytes that size= asked for, 0 unless it said bytes */
  uint64_t allocated;  /* bytes of all chunks, which are in order */
  uint64_t chunk_size; /* bytes of each chunk but the last, a power of two */
  uint32_t chunk_count;
  uint32_t reserved;
  uint8_t gpu[16];   /* UUID */
  uint64_t checksum; /* of all of the above */
};

/* What changes, each one word, which is never half written.  The checksum leaves
 * these out: a word that is lost costs time and no data.
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

  /* Facts for programs that show the state of the disk, stored before the server
   * is ready and not needed to adopt it.  0, or an empty string, where the server
   * is too old to say.
   */
  _Atomic uint64_t lost;      /* CLOCK_BOOTTIME in ms when the GPU was lost */
  _Atomic uint64_t copy_path; /* enum superblock_copy_path */
  _Atomic uint64_t quiet;     /* enum superblock_quiet */
  char copy_reason[128];      /* why DMA alone, one line */
  char gpu_name[64];
  char gpu_pci[16]; /* "0000:01:00.0" */
};

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

/* The superblock lies in a memfd, which lives for as long as a descriptor of it
 * does, and is mapped shared: what this process has stored is there for the
 * next one, whatever instant this one dies at, as it would be for another
 * thread.
 *
 *   offset 0     struct superblock_header
 *   offset 2048  struct superblock_shared
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
 */
struct superblock {
  int fd; /* -1: there is none, and nothing else counts */
  struct superblock_header *header;
  struct superblock_shared *shared;
  void *bits;
  uint64_t size; /* bytes of the whole */
};

#define SUPERBLOCK_NONE                                                       \
  {                                                                           \
    .fd = -1                                                                  \
  }

/* Make the superblock of a new disk with HEADER, of which magic, version,
 * block_size and checksum are filled in here, all bits clear.  Returns 0, or -1
 * after log_error.
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
