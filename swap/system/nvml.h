/* nbdkit-vram: asks NVIDIA's management library about a GPU
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_NVML_H
#define VRAM_SWAP_NVML_H

#include "gpu.h"

/* Fills G with what libnvidia-ml.so.1 says of the GPU at PCI address PCI.  It
 * wakes a GPU that is asleep, so ask gpu_is_awake first.  A child of ours asks
 * and gets a few seconds, because a driver that hangs would take the caller
 * with it.  False when there is no library, or no answer.  Prints nothing.
 */
bool nvml_ask (struct gpu *g, const char *pci);

#endif
