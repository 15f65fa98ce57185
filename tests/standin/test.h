/* nbdkit-vram: what the tests of the stand-in drivers share
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Each case runs in a process of its own, with an environment of its own, and
 * opens libcuda.so.1 as found through LD_LIBRARY_PATH.  To show that something
 * has not happened yet, a case stops the streams by a trigger file, or makes
 * them very slow.  To show that something has happened, it waits for that.
 */
#ifndef STANDIN_TEST_H
#define STANDIN_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "cuda-abi.h"

#define MIB (1ULL << 20)

/* These end the process if they fail. */
#define CHECK(cond)                                                           \
  do {                                                                        \
    if (!(cond)) {                                                            \
      fprintf (stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);   \
      _exit (1);                                                              \
    }                                                                         \
  } while (0)

#define GIVES(call, want)                                                     \
  do {                                                                        \
    int r_ = (call);                                                          \
    if (r_ != (want)) {                                                       \
      fprintf (stderr, "%s:%d: %s gave %d, not %d\n", __FILE__, __LINE__,     \
               #call, r_, (want));                                            \
      _exit (1);                                                              \
    }                                                                         \
  } while (0)

#define OK(call) GIVES (call, CUDA_SUCCESS)

/* A case; the tables end with a NULL name. */
struct test {
  const char *name;
  void (*run) (void);
  void (*prepare) (void); /* NULL: nothing */
};

extern const struct test device_tests[], stream_tests[], memory_tests[],
    fault_tests[], report_tests[], vulkan_tests[];

/* The entry points of the CUDA driver, set by load. */
struct cuda_entries {
#define FUNCTION(name, needs) __typeof__ (name) *name;
#include "functions.h"
#undef FUNCTION
};
extern struct cuda_entries cu;

/* A folder for each case, removed after it. */
extern char test_dir[];

/* The file NAME in it; the string lives until the fourth call from here. */
extern const char *path (const char *name);

/* Sets STANDIN_CUDA_NAME. */
extern void env (const char *name, const char *value);

/* Makes HANG_FILE the file "hang".  Streams stop while it exists. */
extern void use_hang_file (void);

/* Writes a file that appears with its whole content. */
extern void write_file (const char *name, const char *text);
extern void read_file (const char *name, char *buf, size_t size);

/* Opens LIBRARY and looks up all entry points.  Missing ones are NULL. */
extern void load (const char *library);

/* Loads the driver and makes the primary context of device 0 current. */
extern CUcontext start (void);

/* Exportable memory of device 0. */
extern CUmemAllocationProp prop (void);
extern void allow (CUdeviceptr at, size_t size, int flags);

/* SIZE bytes of exportable VRAM at an address of its own. */
extern CUdeviceptr chunk (size_t size, CUmemGenericAllocationHandle *handle);

extern bool all (const void *buf, size_t size, unsigned char value);
extern int64_t now_ms (void);

/* test-memory.c runs this in a program of its own. */
extern int import_other_gpu (const char *number);

#endif /* STANDIN_TEST_H */
