/* nbdkit-vram: which GPUs there are, and which one is meant
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DEVICE_H
#define VRAM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/libcuda.h"

#define DEVICE_UUID_TEXT 48

struct device {
  int index; /* CUDA's ordinal */
  CUdevice device;
  char name[128];
  char uuid
      [DEVICE_UUID_TEXT]; /* "GPU-" and 36 characters, as nvidia-smi -L prints it */
  char pci[16];           /* "0000:01:00.0" */
  uint8_t uuid_bytes[16];
  uint64_t total; /* bytes of VRAM */
};

struct devices {
  size_t count;
  struct device *gpu;
};

/* List the GPUs, after cuda_init; those that cannot be asked what they are, with
 * a warning, left out.  None is an error.  Returns 0, or -1 with the reason in
 * devices_list_error (), after log_error.
 */
extern int devices_list (struct devices *gpus);
extern const char *devices_list_error (void);

extern void devices_free (struct devices *gpus);

/* The GPU that SPEC means: an index, a name or a part of one (in upper or
 * lower case), a UUID with or without "GPU-", or a PCI address with or without
 * its domain.  NULL after log_error, which lists what there is, when SPEC
 * means none or several.
 */
extern const struct device *
devices_find (const struct devices *gpus, const char *spec);

/* The GPU with the most free VRAM.  Opens a context on each to ask, when there
 * are several.  NULL after log_error.
 */
extern const struct device *devices_most_free (const struct devices *gpus);

/* UUID as nvidia-smi -L prints it, into TEXT, which is returned. */
extern const char *
device_uuid_text (const uint8_t uuid[16], char text[DEVICE_UUID_TEXT]);

/* Free VRAM of one GPU in bytes, asked in a context that is opened for it.
 * Returns 0, or -1 after log_error.
 */
extern int device_free_bytes (const struct device *gpu, uint64_t *bytes);

#endif /* VRAM_DEVICE_H */
