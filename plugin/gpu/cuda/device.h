/* nbdkit-vram: the GPUs that CUDA lists
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DEVICE_H
#define VRAM_DEVICE_H

#include "disk/provider.h"
#include "gpu/cuda/context.h"

/* List the GPUs; call it after cuda_init.  Leaves out, with a warning, GPUs
 * that cannot be queried.  Returns 0, or -1 after log_error, also if there is
 * no GPU.
 */
extern int devices_list (struct devices *gpus);

/* Open a context on GPU.  As cuda_open. */
extern int device_open (const struct device *gpu, struct cuda *cuda);

/* Store the free VRAM of GPU in bytes.  Opens a context for this.  Returns 0,
 * or -1 after log_error.
 */
extern int device_free_bytes (const struct device *gpu, uint64_t *bytes);

#endif /* VRAM_DEVICE_H */
