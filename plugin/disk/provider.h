/* nbdkit-vram: what the disk needs of a GPU
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PROVIDER_H
#define VRAM_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/units.h"
#include "disk/superblock.h"

/* A provider is one way to get VRAM and to copy to and from it.  Its file ends
 * in a filled-in struct provider_functions, and nothing else of it is seen
 * outside its folder.  VRAM comes in chunks, which may come and go one by one;
 * a place in VRAM is a chunk and an offset in it.
 */

/* VRAM is allocated in multiples of this, or of more where a driver asks so. */
#define GRANULARITY (2 * MiB)

/* One GPU. */
struct device {
  int index; /* the provider's number of it, as device=N means it */
  char name[128];
  char uuid[48]; /* "GPU-" and 36 characters, as nvidia-smi -L prints it */
  char pci[16];  /* "0000:01:00.0" */
  uint8_t uuid_bytes[16];
  uint64_t total; /* bytes of VRAM */
};

struct devices {
  size_t count;
  struct device *gpu;
};

/* The largest copies, in bytes, that go through the CPU's mapping of VRAM
 * rather than by DMA.  A GPU that has copied nothing for a while takes long to
 * begin, so after a rest the mapping is worth it for larger reads.
 */
struct copy_limits {
  uint64_t read_max, read_max_rested, write_max;
};

/* Whether the CPU maps VRAM. */
enum mapping_mode {
  MAPPING_AUTO, /* where it can */
  MAPPING_YES,  /* or fail */
  MAPPING_NO,
};

#define DMA_QUEUES_MAX 64

/* Pinned memory of one DMA queue, in bytes: at least two blocks. */
#define STAGING_MIN (8 * 1024)
#define STAGING_MAX (64 * 1024 * 1024)

/* What the user asked for that a GPU is opened with. */
struct provider_options {
  unsigned queues;  /* DMA queues, 0: from the number of CPUs */
  uint64_t staging; /* bytes of pinned memory of each, multiple of the least */
  enum mapping_mode mapping;
  bool read_max_set; /* else measured */
  uint64_t read_max; /* bytes: larger reads go by DMA */
  bool boost;        /* let the driver raise the clocks while idle */
};

/* Why something is not possible, one line. */
#define PROVIDER_REASON 512

/* How copies go at this moment. */
struct provider_path {
  enum {
    PATH_LOST,    /* all fail: the GPU is lost */
    PATH_DMA,     /* by DMA alone */
    PATH_MAPPING, /* through the mapping where that is faster, else by DMA */
  } path;
  char reason[PROVIDER_REASON]; /* of PATH_DMA */
};

/* One allocation of VRAM.  Providers put it first in a struct of their own. */
struct chunk {
  uint64_t size; /* bytes */
};

/* One GPU that has been opened.  Providers put it first in a struct of their
 * own.  All of it is constant after open.
 */
struct provider {
  const struct provider_functions *f;
  struct device device;

  enum superblock_quiet quiet;

  uint64_t granularity; /* of the size of chunks, bytes, a power of two */
  uint64_t chunk_size;  /* the best size of chunks, a power of two of these */

  /* What open measured, if it did: a server that takes the disk over need not
   * do so again.
   */
  bool limits_known;
  struct copy_limits limits;
};

/* The places of a chunk, 64 bytes each, that map may overwrite. */
#define SPARE_ALL  UINT64_MAX /* all of it */
#define SPARE_NONE (UINT64_MAX - 1)

/* Any thread may call any of these at any time, unless the comment says
 * otherwise.  No call may begin before nbdkit has forked, but for load.  A
 * thread other than the one that opened the provider has these calls watched, if
 * it has called watchdog_add_thread, and the copies and check in any case.
 */
struct provider_functions {
  const char *name;

  /* Find the driver's libraries and set the environment that they read, but
   * start no thread.  May be called before nbdkit forks.  Returns 0, or -1 after
   * log_error.
   */
  int (*load) (const struct provider_options *options);

  /* Start the driver, which may take WAIT_MS to come up, and list its GPUs, at
   * least one.  devices_free frees the list.  Returns 0, or -1 after log_error.
   */
  int (*list) (unsigned wait_ms, struct devices *devices);

  /* How many bytes of VRAM are free on a GPU that has not been opened.  Returns
   * 0, or -1 after log_error.
   */
  int (*device_free) (const struct device *device, uint64_t *bytes);

  /* Print what is known of the driver for --dump-plugin, as lines NAME=VALUE.
   * After load, whatever that returned.
   */
  void (*dump) (void);

  /* Whether the CPU could map BYTES of VRAM of a GPU that has not been opened.
   * Returns 0, or -1 with the reason in REASON.
   */
  int (*can_map) (const struct device *device, uint64_t bytes,
                  char reason[PROVIDER_REASON]);

  /* Open DEVICE, prepare all that copies need, and try each path once, in VRAM
   * that is freed again.  SIZE is how many bytes of VRAM will be wanted.
   * LIMITS, unless NULL, were measured before and are not measured again.
   * Returns NULL after log_error.
   */
  struct provider *(*open) (const struct device *device,
                            const struct provider_options *options,
                            uint64_t size, const struct copy_limits *limits);

  /* All chunks must have been freed, and no call may be under way.  The driver
   * is not called when the GPU is lost.
   */
  void (*close) (struct provider *p);

  /* Allocate SIZE bytes, a multiple of p->granularity, whose content is
   * undefined.  One thread at a time.  Returns 0, 1 when VRAM is short, or -1;
   * 1 and -1 with the reason in REASON.
   */
  int (*allocate) (struct provider *p, uint64_t size, struct chunk **chunk,
                   char reason[PROVIDER_REASON]);

  /* Have the chunk of SIZE bytes that FD stands for, with its content; FD is
   * taken over on success.  One thread at a time.  Returns NULL with the reason
   * in REASON.
   */
  struct chunk *(*import) (struct provider *p, int fd, uint64_t size,
                           char reason[PROVIDER_REASON]);

  /* Let the CPU map CHUNK, where it can, and prove that its mapping and DMA
   * reach the same VRAM; else its copies go by DMA alone.  64 bytes at the
   * offset SPARE may be overwritten, or see above.  No copy of CHUNK may be
   * under way.  One thread at a time.  Returns 0, or -1 with the reason in
   * REASON when DMA fails, or when nothing can be mapped in spite of
   * MAPPING_YES.
   */
  int (*map) (struct provider *p, struct chunk *chunk, uint64_t spare,
              char reason[PROVIDER_REASON]);

  /* A new descriptor of CHUNK, close-on-exec.  The VRAM and its content live
   * for as long as a descriptor is open or a process has the chunk.  Returns -1
   * with the reason in REASON.
   */
  int (*export) (struct provider *p, const struct chunk *chunk,
                 char reason[PROVIDER_REASON]);

  /* The chunks that the start needs have been mapped: give back memory that was
   * needed for that.
   */
  void (*settle) (struct provider *p);

  /* No copy of CHUNK may be under way.  One thread at a time. */
  void (*free) (struct provider *p, struct chunk *chunk);

  /* How many bytes of VRAM are free.  Returns 0, or -1 after log_error. */
  int (*free_bytes) (struct provider *p, uint64_t *bytes);

  /* Copy COUNT bytes between BUF and OFFSET in CHUNK, any alignment.  When a
   * call has returned 0, every later call sees its bytes; calls at the same
   * time happen in any order, byte by byte.  These allocate nothing.  Return 0,
   * or -1 with errno = EIO after the log has been told.
   */
  int (*read) (struct provider *p, struct chunk *chunk, uint64_t offset,
               void *buf, size_t count);
  int (*write) (struct provider *p, struct chunk *chunk, uint64_t offset,
                const void *buf, size_t count);

  /* Overwrite COUNT bytes at OFFSET in CHUNK with zeros.  As the copies. */
  int (*zero) (struct provider *p, struct chunk *chunk, uint64_t offset,
               uint64_t count);

  /* Whether the GPU still holds what was written, as far as can be known: before
   * a request without data is answered, and after the copy of one with data.
   * Costs a few nanoseconds; asks the driver now and then, and always after the
   * machine has slept.  Returns 0, or -1 with errno = EIO when the GPU is lost,
   * and with it all that was written: every copy fails at once from then on.
   */
  int (*check) (struct provider *p);

  void (*describe) (const struct provider *p, struct provider_path *path);
};

#endif /* VRAM_PROVIDER_H */
