/* nbdkit-vram: the ways of copying between host memory and VRAM, to compare
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef BENCH_PATH_H
#define BENCH_PATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/libcuda.h"

/* The largest copy, and the VRAM that copies go to, in bytes. */
#define PATH_BIGGEST ((size_t) 1 << 20)
#define PATH_REGION  ((size_t) 64 << 20)

/* How long the GPU may take for anything, in seconds. */
#define PATH_WAIT_S 60

/* What a thread copies with.  A copy moves bytes between VRAM and BUFFER. */
struct kit {
  CUstream stream;
  uint8_t *buffer;        /* pageable, where a request's data would be */
  uint8_t *staging;       /* pinned */
  _Atomic uint32_t *flag; /* pinned, written by the stream */
  CUdeviceptr flag_address;
  uint32_t serial; /* value that the flag was last asked to take */
};

struct path {
  const char *name;

  /* Copy BYTES, at most PATH_BIGGEST, at OFFSET within PATH_REGION.  The
   * program ends when that fails.
   */
  void (*write) (struct kit *kit, size_t offset, size_t bytes);
  void (*read) (struct kit *kit, size_t offset, size_t bytes);

  /* NULL: always there.  Returns NULL, or why this machine lacks it. */
  const char *(*missing) (struct kit *kit);

  /* It moves kit->staging instead of kit->buffer. */
  bool staging_only;
};

extern const struct path paths[];
extern const size_t nr_paths;

/* Open GPU number INDEX, allocate VRAM on it, and set up every path; the
 * window with the copy instructions called INSTRUCTIONS, or NULL for the best.
 * What the machine lacks makes the paths that need it missing; the program
 * ends when there is no VRAM to copy to.  Call it once, before kit_open.
 */
extern void
paths_open (unsigned index, unsigned threads, const char *instructions);
extern void paths_close (void);

/* The paths, after paths_open. */
struct machine {
  char gpu[128];
  int cuda;                 /* version of the driver API, 12080 for 12.8 */
  const char *instructions; /* that the window uses */
};
extern struct machine machine;

/* Fill and empty KIT, on the thread that uses it. */
extern void kit_open (struct kit *kit);
extern void kit_close (struct kit *kit);

/* Write by PATH and read back by PATH and by another one, and the other way
 * round.  The program ends when a byte differs.
 */
extern void path_check (const struct path *path, struct kit *kit);

/* Print a message that begins with the program's name and end the program. */
extern void __attribute__ ((format (printf, 1, 2), noreturn))
die (const char *format, ...);

/* Print what the plugin's code says under debug. */

#endif /* BENCH_PATH_H */
