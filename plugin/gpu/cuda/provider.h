/* nbdkit-vram: VRAM by CUDA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CUDA_PROVIDER_H
#define VRAM_CUDA_PROVIDER_H

#include "disk/provider.h"

extern const struct provider_functions cuda_provider;

#endif /* VRAM_CUDA_PROVIDER_H */
