/* nbdkit-vram: the interface between the disk and a GPU
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
 * in a filled-in struct provider_functions, the only symbol that is used
 * outside its folder.  VRAM is allocated in chunks, which may come and go one
 * by one.  A place in VRAM is a chunk and an offset in it.
 */

/* VRAM is allocated in multiples of this, in bytes, or more if the driver says
 * so.
 */
#define GRANULARITY (2 * MiB)

/* One GPU. */
struct device {
  int index; /* the provider's number, device=N */
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
 * rather than by DMA.  After a rest, DMA takes long to begin, so the mapping
 * is faster for larger reads than otherwise.
 */
struct copy_limits {
  uint64_t read_max, read_max_rested, write_max;
};

/* Whether the CPU maps VRAM. */
enum mapping_mode {
  MAPPING_AUTO, /* if possible */
  MAPPING_YES,  /* or fail */
  MAPPING_NO,
};

#define DMA_QUEUES_MAX 64

/* Pinned memory of one DMA queue, in bytes: at least two blocks. */
#define STAGING_MIN (8 * 1024)
#define STAGING_MAX (64 * 1024 * 1024)

/* Parameters for opening a GPU. */
struct provider_options {
  unsigned queues;  /* DMA queues, 0: from the number of CPUs */
  uint64_t staging; /* bytes for each queue, a multiple of STAGING_MIN */
  enum mapping_mode mapping;
  bool read_max_set; /* else measured */
  uint64_t read_max; /* bytes: larger reads go by DMA */
  bool boost;        /* let the driver raise the clocks while idle */
};

/* Size of a reason, which is one line. */
#define PROVIDER_REASON 512

/* How copies go at this moment. */
struct provider_path {
  enum {
    PATH_LOST,    /* all fail: the GPU is lost */
    PATH_DMA,     /* by DMA alone */
    PATH_MAPPING, /* through the mapping where that is faster, else by DMA */
  } path;
  char reason[PROVIDER_REASON]; /* for PATH_DMA: why not the mapping */
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

/* Any thread may call these at any time, unless the comment says otherwise.
 * Only load may be called before nbdkit forks.  The watchdog watches copies
 * and check on all threads, and the other calls on the thread that opened the
 * provider and on those that have called watchdog_add_thread.
 */
struct provider_functions {
  const char *name;

  /* Load the driver's libraries and set the environment that they read, but
   * start no thread.  Returns 0, or -1 after log_error.
   */
  int (*load) (const struct provider_options *options);

  /* Initialise the driver, waiting for it up to WAIT_MS, and list its GPUs, at
   * least one.  devices_free frees the list.  Returns 0, or -1 after
   * log_error.
   */
  int (*list) (unsigned wait_ms, struct devices *devices);

  /* Store how many bytes of VRAM are free on a GPU that has not been opened.
   * Returns 0, or -1 after log_error.
   */
  int (*device_free) (const struct device *device, uint64_t *bytes);

  /* Print facts about the driver for --dump-plugin, as lines NAME=VALUE.  Call
   * it after load, even if that has failed.
   */
  void (*dump) (void);

  /* Whether the CPU could map BYTES of VRAM of a GPU that has not been opened.
   * Returns 0, or -1 with the reason in REASON.
   */
  int (*can_map) (const struct device *device, uint64_t bytes,
                  char reason[PROVIDER_REASON]);

  /* Open DEVICE, prepare copies, and try each path once in VRAM that is freed
   * again.  SIZE is how many bytes of VRAM will be needed.  LIMITS are results
   * of an earlier server, or NULL to measure them.  Returns NULL after
   * log_error.
   */
  struct provider *(*open) (const struct device *device,
                            const struct provider_options *options,
                            uint64_t size, const struct copy_limits *limits);

  /* All chunks must have been freed, and no call may be under way.  The driver
   * is not called when the GPU is lost.
   */
  void (*close) (struct provider *p);

  /* Allocate SIZE bytes, a multiple of p->granularity.  Their content is
   * undefined.  One thread at a time.  Returns 0, or with the reason in
   * REASON: 1 if VRAM is short, -1 for other errors.
   */
  int (*allocate) (struct provider *p, uint64_t size, struct chunk **chunk,
                   char reason[PROVIDER_REASON]);

  /* Import the exported chunk FD of SIZE bytes, with its content.  FD is taken
   * over on success.  One thread at a time.  Returns NULL with the reason in
   * REASON.
   */
  struct chunk *(*import) (struct provider *p, int fd, uint64_t size,
                           char reason[PROVIDER_REASON]);

  /* Map CHUNK for the CPU, if possible, and check that mapping and DMA reach
   * the same VRAM.  Otherwise copies go by DMA alone.  The 64 bytes at the
   * offset SPARE (or see above) may be overwritten.  No copy of CHUNK may be
   * under way.  One thread at a time.  Returns 0, or -1 with the reason in
   * REASON if DMA fails, or if the chunk cannot be mapped with MAPPING_YES.
   */
  int (*map) (struct provider *p, struct chunk *chunk, uint64_t spare,
              char reason[PROVIDER_REASON]);

  /* Return a new descriptor of CHUNK, close-on-exec.  The VRAM and its content
   * live while a descriptor is open or a process uses the chunk.  Returns -1
   * with the reason in REASON.
   */
  int (*export) (struct provider *p, const struct chunk *chunk,
                 char reason[PROVIDER_REASON]);

  /* Free memory that only map needs.  Call it when all chunks have been
   * mapped.
   */
  void (*settle) (struct provider *p);

  /* Free CHUNK.  No copy of it may be under way.  One thread at a time. */
  void (*free) (struct provider *p, struct chunk *chunk);

  /* How many bytes of VRAM are free.  Returns 0, or -1 after log_error. */
  int (*free_bytes) (struct provider *p, uint64_t *bytes);

  /* Copy COUNT bytes between BUF and OFFSET in CHUNK, with any alignment.
   * When a call has returned 0, every later call sees its bytes.  Calls at the
   * same time happen in any order, byte by byte.  These allocate nothing.
   * Return 0, or -1 with errno = EIO after a message in the log.
   */
  int (*read) (struct provider *p, struct chunk *chunk, uint64_t offset,
               void *buf, size_t count);
  int (*write) (struct provider *p, struct chunk *chunk, uint64_t offset,
                const void *buf, size_t count);

  /* Overwrite COUNT bytes at OFFSET in CHUNK with zeros.  Returns as read. */
  int (*zero) (struct provider *p, struct chunk *chunk, uint64_t offset,
               uint64_t count);

  /* Check whether the GPU still holds its data.  Called before a request
   * without data is answered, and after the copy of a request with data.
   * Takes a few nanoseconds; asks the driver now and then, and always after
   * the machine has slept.  Returns 0, or -1 with errno = EIO if the GPU is
   * lost.  From then on every copy fails at once.
   */
  int (*check) (struct provider *p);

  /* Keep in *SLEPT, which is part of the superblock, what check has to know
   * about the machine's sleep, so that the next server notices if VRAM was
   * lost before it started.  Call it before the first check.  SLEPT must stay
   * valid until close.
   */
  void (*share_sleep) (struct provider *p, _Atomic uint64_t *slept);

  void (*describe) (const struct provider *p, struct provider_path *path);
};

#endif /* VRAM_PROVIDER_H */
