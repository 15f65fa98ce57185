/* nbdkit-vram: calls of the CUDA driver that only the benchmarks make
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef BENCH_EXTRA_H
#define BENCH_EXTRA_H

#include "gpu/cuda/libcuda.h"

/* Functions that other designs use and the plugin does not.  ABI as in
 * libcuda.h.
 */
struct extra {
  CUresult (*memcpy_htod) (CUdeviceptr dst, const void *src, size_t bytes);
  CUresult (*memcpy_dtoh) (void *dst, CUdeviceptr src, size_t bytes);
  CUresult (*stream_synchronize) (CUstream stream);
  CUresult (*mem_host_get_device_pointer) (CUdeviceptr *device, void *host,
                                           unsigned int flags);
  /* NULL in drivers older than CUDA 11.7. */
  CUresult (*stream_write_value32) (CUstream stream, CUdeviceptr address,
                                    uint32_t value, unsigned int flags);
};

enum {
  CU_MEMHOSTALLOC_DEVICEMAP = 2,
};

extern struct extra extra;

/* Fills the table.  Call it after libcuda_load has succeeded.  Returns NULL,
 * or the symbol that libcuda.so.1 lacks.
 */
extern const char *extra_load (void);

#endif /* BENCH_EXTRA_H */
