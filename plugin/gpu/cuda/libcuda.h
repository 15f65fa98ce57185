/* nbdkit-vram: the part of the CUDA driver API that is used
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LIBCUDA_H
#define VRAM_LIBCUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The ABI, written by hand after the CUDA Driver API reference manual,
 * version 12.0 (types unchanged in 13.0), so that no CUDA toolkit is needed to
 * build.  Every enumeration is an int in that ABI.
 */
typedef int CUresult;
typedef int CUdevice;
typedef int CUdevice_attribute;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef int CUmemAllocationHandleType;
typedef int CUmemAllocationGranularity_flags;

typedef struct {
  unsigned char bytes[16];
} CUuuid;

typedef struct {
  int type;
  int id;
} CUmemLocation;

typedef struct {
  int type;
  CUmemAllocationHandleType requested_handle_types;
  CUmemLocation location;
  void *win32_handle_meta_data;
  struct {
    unsigned char compression_type;
    unsigned char gpu_direct_rdma_capable;
    unsigned short usage;
    unsigned char reserved[4];
  } alloc_flags;
} CUmemAllocationProp;

typedef struct {
  CUmemLocation location;
  int flags;
} CUmemAccessDesc;

_Static_assert(sizeof (CUmemAllocationProp) == 32, "ABI of CUDA 10.2");
_Static_assert(sizeof (CUmemAccessDesc) == 12, "ABI of CUDA 10.2");

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_SYSTEM_NOT_READY = 802,
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
  CUDA_ERROR_UNKNOWN = 999,
};

enum {
  CU_DEVICE_ATTRIBUTE_PCI_BUS_ID = 33,
  CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34,
  CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50,
  CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
  CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,
};

enum {
  CU_MEMHOSTALLOC_PORTABLE = 1,
  CU_STREAM_NON_BLOCKING = 1,
  CU_EVENT_DISABLE_TIMING = 2,
  CU_MEM_ALLOCATION_TYPE_PINNED = 1,
  CU_MEM_LOCATION_TYPE_DEVICE = 1,
  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1,
  CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3,
  CU_MEM_ALLOC_GRANULARITY_MINIMUM = 0,
};

/* The table of entry points, one field a function.  The fields of optional
 * functions are NULL when the library does not export them.
 */
struct libcuda {
#define STUB(field, symbol, args) CUresult (*field) args;
#define OPTIONAL_STUB             STUB
#include "gpu/cuda/libcuda-stubs.h"
#undef STUB
#undef OPTIONAL_STUB
};

extern struct libcuda libcuda;

/* Load libcuda.so.1 and fill the table.  It starts no thread and may be called
 * before nbdkit forks.  Returns 0, or -1 after log_error (which file was
 * tried, which symbol is missing, what to do).  Calling it again after success
 * does nothing.
 */
extern int libcuda_load (void);

#endif /* VRAM_LIBCUDA_H */
