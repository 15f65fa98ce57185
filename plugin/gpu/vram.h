/* nbdkit-vram: one GPU's VRAM as memory to read and write
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_VRAM_H
#define VRAM_VRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handover/adopt.h"
#include "gpu/cuda/device.h"
#include "size.h"
#include "disk/superblock.h"
#include "gpu/vulkan/mapping.h"

struct vram;

/* window=auto|yes|no: whether the CPU maps VRAM. */
enum vram_mapping {
  VRAM_MAPPING_AUTO, /* where it can */
  VRAM_MAPPING_YES,  /* or fail */
  VRAM_MAPPING_NO,
};

struct vram_options {
  const char *device; /* as for devices_find; NULL: the one with most free */
  struct size size;   /* SIZE_UNSET: all that is free */
  bool min_size_set;  /* else 512 MiB, or the size if that is smaller */
  uint64_t min_size;  /* bytes */
  uint64_t headroom;  /* bytes to leave to others */
  unsigned lanes;     /* 0: from the number of CPUs */
  uint64_t staging;   /* bytes of each lane's staging memory */
  enum vram_mapping window;
  bool window_read_max_set; /* else set-up finds it by trying */
  uint64_t window_read_max; /* bytes: larger reads go by DMA */
  bool boost;               /* let the driver raise the clocks while idle */
  bool scrub;               /* overwrite VRAM when it is given back */
  unsigned init_wait_ms;    /* how long the driver may take to come up */
  unsigned gpu_timeout_ms;  /* for watchdog_start */

  /* Take over the disk that STATE describes, with these descriptors; NULL:
   * make a new one.
   */
  struct adopt *adopt;
  struct superblock *superblock;
};

#define VRAM_STAGING_DEFAULT  (512 * KiB)
#define VRAM_MIN_SIZE_DEFAULT (512 * MiB)

/* Initialise the driver, choose a GPU, allocate, overwrite what was there with
 * zeros and run every path once.  A disk that is taken over keeps its GPU, its
 * size and every byte of its data, also when this fails.  Starts threads: only
 * after nbdkit has forked.  libcuda_load must have succeeded.  Returns NULL
 * after log_error.
 */
extern struct vram *vram_open (const struct vram_options *options);

/* Overwrite the VRAM if that was asked for, and give it back.  With KEEP it is
 * left as it is, for whoever holds descriptors of it.  No request may be
 * running.  NULL is allowed.
 */
extern void vram_close (struct vram *vram, bool keep);

/* The first half of that, by itself; the other is vram_close with KEEP. */
extern void vram_overwrite (struct vram *vram);

/* What a later server has to know of this VRAM, for superblock_create. */
extern void
vram_describe (const struct vram *vram, struct superblock_header *header);

/* What set-up found out about the window, for and from a superblock. */
extern void
vram_save_limits (const struct vram *vram, struct superblock *superblock);

/* The chunks that it consists of; none on a driver that has no chunks. */
extern const struct chunks *vram_chunks (const struct vram *vram);

/* How many bytes there are: what was asked for or less, a multiple of 4 KiB. */
extern uint64_t vram_size (const struct vram *vram);

/* Whether the GPU is lost, and with it all that was written.  Stays so. */
extern bool vram_is_lost (const struct vram *vram);

/* Whether it still holds what was written, as far as can be known (check.h):
 * before a request without data is answered, and after the copy of one with
 * data.  Returns 0, or -1 with errno = EIO and the GPU lost.
 */
extern int vram_check (struct vram *vram);

/* The GPU that it belongs to. */
extern const struct device *vram_gpu (const struct vram *vram);

/* How copies go as things are now, in words: "by window", where that is what
 * they are better served by, "by DMA alone: REASON", or "fail: REASON".
 */
#define VRAM_WAY (MAPPING_REASON + 32)
extern void vram_say_way (const struct vram *vram, char text[VRAM_WAY]);

/* Copy COUNT bytes at OFFSET, within the size; any alignment, any thread.
 * When a call returns 0, every later call sees the bytes (route.h says why).
 * Returns -1 with errno = EIO after the log has been told.
 */
extern int
vram_read (struct vram *vram, void *buf, size_t count, uint64_t offset);
extern int
vram_write (struct vram *vram, const void *buf, size_t count, uint64_t offset);

#endif /* VRAM_VRAM_H */
