/* nbdkit-vram: takes over the disk of a server that is gone
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_ADOPT_H
#define VRAM_ADOPT_H

#include <stdbool.h>
#include <stddef.h>

#include "disk/superblock.h"

/* What the descriptors are called while they are kept: the superblock, each
 * chunk by its number, and the GPU's device node, which servers that know of
 * it hand over, and no server needs to adopt a disk.
 */
#define ADOPT_SUPERBLOCK_NAME "vram-state"
#define ADOPT_CHUNK_NAME      "vram-chunk-%zu"
#define ADOPT_GPU_NAME        "vram-gpu"
#define ADOPT_SPILL_NAME      "vram-spill"
#define ADOPT_NAME_MAX        32

/* The descriptors that adopt= has brought, -1 for those that it has not. */
struct adopt {
  bool wanted; /* there was an adopt= */
  int superblock, gpu, probe, spill;
  int chunk[CHUNKS_MAX];
  size_t chunks; /* how many chunks were brought */
};

/* Parse the value of adopt=, "FD:NAME,FD:NAME...": open descriptors of this
 * process and what they were called in the store; each is taken over, and not
 * passed on to children.  Returns 0, or -1 after log_error.
 */
extern int adopt_parse (const char *value, struct adopt *adopt);

/* Open the superblock that was brought, and check that all chunks that it
 * speaks of were brought, and no others.  Changes nothing of the disk. Returns
 * 0, or -1 after log_error.
 */
extern int adopt_open (struct adopt *adopt, struct superblock *superblock);

/* Close what is still open of the descriptors.  The program that keeps them
 * has its own.
 */
extern void adopt_close (struct adopt *adopt);

#endif /* VRAM_ADOPT_H */
