/* nbdkit-vram: the paths of copies between host memory and VRAM, to compare
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef BENCH_PATH_H
#define BENCH_PATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/libcuda.h"

/* The largest copy, and the VRAM for copies, in bytes. */
#define PATH_BIGGEST ((size_t) 1 << 20)
#define PATH_REGION  ((size_t) 64 << 20)

/* The time limit of any call, in seconds. */
#define PATH_WAIT_S 60

/* The buffers of a thread.  A copy is between VRAM and BUFFER. */
struct kit {
  CUstream stream;
  uint8_t *buffer;        /* pageable, like the buffer of a request */
  uint8_t *staging;       /* pinned */
  _Atomic uint32_t *flag; /* pinned, written by the stream */
  CUdeviceptr flag_address;
  uint32_t serial; /* the last value for the flag */
};

struct path {
  const char *name;

  /* Copy BYTES, at most PATH_BIGGEST, at OFFSET within PATH_REGION.  A failure
   * ends the program.
   */
  void (*write) (struct kit *kit, size_t offset, size_t bytes);
  void (*read) (struct kit *kit, size_t offset, size_t bytes);

  /* Returns NULL, or why this machine lacks the path.  NULL: it never lacks
   * it.
   */
  const char *(*missing) (struct kit *kit);

  /* It moves kit->staging instead of kit->buffer. */
  bool staging_only;
};

extern const struct path paths[];
extern const size_t nr_paths;

/* Opens GPU number INDEX, allocates VRAM on it, and sets up every path that
 * this machine has.  The window uses the copy instructions called
 * INSTRUCTIONS, or the best if that is NULL.  If VRAM cannot be allocated, the
 * program ends.  Call it once, before kit_open.
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

/* Sets up and frees KIT, on the thread that uses it. */
extern void kit_open (struct kit *kit);
extern void kit_close (struct kit *kit);

/* Writes by PATH and reads back by PATH and by another one, and vice versa.
 * If a byte differs, the program ends.
 */
extern void path_check (const struct path *path, struct kit *kit);

/* Prints a message after the program's name, and ends the program. */
extern void __attribute__ ((format (printf, 1, 2), noreturn))
die (const char *format, ...);

/* Prints the debug messages of the plugin's code. */

#endif /* BENCH_PATH_H */
