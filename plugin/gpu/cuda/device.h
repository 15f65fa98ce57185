/* nbdkit-vram: the GPUs that CUDA lists
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DEVICE_H
#define VRAM_DEVICE_H

#include "disk/provider.h"
#include "gpu/cuda/context.h"

/* List the GPUs, after cuda_init, and leave out, with a warning, those that
 * cannot be asked what they are.  None is an error.  Returns 0, or -1 after
 * log_error.
 */
extern int devices_list (struct devices *gpus);

/* Open a context on GPU.  As cuda_open. */
extern int device_open (const struct device *gpu, struct cuda *cuda);

/* Free VRAM of one GPU in bytes, asked in a context that is opened for it.
 * Returns 0, or -1 after log_error.
 */
extern int device_free_bytes (const struct device *gpu, uint64_t *bytes);

#endif /* VRAM_DEVICE_H */
