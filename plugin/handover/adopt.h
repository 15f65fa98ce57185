/* nbdkit-vram: takes over the disk of an earlier server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_ADOPT_H
#define VRAM_ADOPT_H

#include <stdbool.h>
#include <stddef.h>

#include "disk/superblock.h"

/* Names of the descriptors in the store: the superblock, each chunk with its
 * number, and the GPU's device node, which is not needed to adopt a disk.
 */
#define ADOPT_SUPERBLOCK_NAME "vram-state"
#define ADOPT_CHUNK_NAME      "vram-chunk-%zu"
#define ADOPT_GPU_NAME        "vram-gpu"
#define ADOPT_SPILL_NAME      "vram-spill"
#define ADOPT_NAME_MAX        32

/* The descriptors of adopt=, -1 for missing ones. */
struct adopt {
  bool wanted; /* adopt= was given */
  int superblock, gpu, probe, spill;
  int chunk[CHUNKS_MAX];
  size_t chunks; /* number of chunks */
};

/* Parse the value of adopt=, "FD:NAME,FD:NAME...": open descriptors of this
 * process and their names in the store.  They are taken over, and set to close
 * on exec.  Returns 0, or -1 after log_error.
 */
extern int adopt_parse (const char *value, struct adopt *adopt);

/* Open the superblock of adopt=, and check that exactly its chunks were
 * given.  Does not change the disk.  Returns 0, or -1 after log_error.
 */
extern int adopt_open (struct adopt *adopt, struct superblock *superblock);

/* Close the descriptors that have not been taken over.  The supervisor has its
 * own.
 */
extern void adopt_close (struct adopt *adopt);

#endif /* VRAM_ADOPT_H */
