/* nbdkit-vram: which GPUs there are, and which one is meant
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_GPU_H
#define VRAM_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcuda.h"

#define GPU_UUID_TEXT 48

struct gpu {
  int index; /* CUDA's ordinal */
  CUdevice device;
  char name[128];
  char uuid
      [GPU_UUID_TEXT]; /* "GPU-" and 36 characters, as nvidia-smi -L prints it */
  char pci[16];        /* "0000:01:00.0" */
  CUuuid uuid_bytes;
  uint64_t total; /* bytes of VRAM */
};

struct gpus {
  size_t count;
  struct gpu *gpu;
};

/* List the GPUs, after cuda_init; those that cannot be asked what they are, with
 * a warning, left out.  None is an error.  Returns 0, or -1 with the reason in
 * gpus_list_error (), after nbdkit_error.
 */
extern int gpus_list (struct gpus *gpus);
extern const char *gpus_list_error (void);

extern void gpus_free (struct gpus *gpus);

/* The GPU that SPEC means: an index, a name or a part of one (in upper or
 * lower case), a UUID with or without "GPU-", or a PCI address with or without
 * its domain.  NULL after nbdkit_error, which lists what there is, when SPEC
 * means none or several.
 */
extern const struct gpu *gpus_find (const struct gpus *gpus, const char *spec);

/* The GPU with the most free VRAM.  Opens a context on each to ask, when there
 * are several.  NULL after nbdkit_error.
 */
extern const struct gpu *gpus_most_free (const struct gpus *gpus);

/* UUID as nvidia-smi -L prints it, into TEXT, which is returned. */
extern const char *gpu_uuid_text (const CUuuid *uuid, char text[GPU_UUID_TEXT]);

/* Free VRAM of one GPU in bytes, asked in a context that is opened for it.
 * Returns 0, or -1 after nbdkit_error.
 */
extern int gpu_free_bytes (const struct gpu *gpu, uint64_t *bytes);

#endif /* VRAM_GPU_H */
