/* nbdkit-vram: the part of the CUDA driver's ABI that the stand-in driver
 * exports
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Written from the documentation of the CUDA 12 driver API.  It is separate
 * from the plugin's declarations, so that a mistake in one of the two makes
 * tests fail.  The values have not changed since they were introduced; cuda.h
 * maps the plain names to the names with _v2.
 */
#ifndef STANDIN_CUDA_ABI_H
#define STANDIN_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef struct context *CUcontext;
typedef struct stream *CUstream;
typedef struct event *CUevent;

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_DEINITIALIZED = 4,
  CUDA_ERROR_DEVICE_UNAVAILABLE = 46,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_MAP_FAILED = 205,
  CUDA_ERROR_UNMAP_FAILED = 206,
  CUDA_ERROR_ECC_UNCORRECTABLE = 214,
  CUDA_ERROR_OPERATING_SYSTEM = 304,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_ILLEGAL_STATE = 401,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_LAUNCH_TIMEOUT = 702,
  CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
  CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
  CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_NOT_PERMITTED = 800,
  CUDA_ERROR_NOT_SUPPORTED = 801,
  CUDA_ERROR_SYSTEM_NOT_READY = 802,
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803,
  CUDA_ERROR_UNKNOWN = 999
};

/* Attributes of cuDeviceGetAttribute. */
enum {
  CU_ATTR_MULTIPROCESSOR_COUNT = 16,
  CU_ATTR_INTEGRATED = 18,
  CU_ATTR_CAN_MAP_HOST_MEMORY = 19,
  CU_ATTR_ECC_ENABLED = 32,
  CU_ATTR_PCI_BUS_ID = 33,
  CU_ATTR_PCI_DEVICE_ID = 34,
  CU_ATTR_TCC_DRIVER = 35,
  CU_ATTR_ASYNC_ENGINE_COUNT = 40,
  CU_ATTR_UNIFIED_ADDRESSING = 41,
  CU_ATTR_PCI_DOMAIN_ID = 50,
  CU_ATTR_COMPUTE_CAPABILITY_MAJOR = 75,
  CU_ATTR_COMPUTE_CAPABILITY_MINOR = 76,
  CU_ATTR_STREAM_MEM_OPS_V1 = 92,
  CU_ATTR_STREAM_MEM_OPS_64_V1 = 93,
  CU_ATTR_CAN_FLUSH_REMOTE_WRITES = 98,
  CU_ATTR_HOST_REGISTER_SUPPORTED = 99,
  CU_ATTR_VIRTUAL_MEMORY_MANAGEMENT = 102,
  CU_ATTR_HANDLE_TYPE_POSIX_FD = 103,
  CU_ATTR_STREAM_MEM_OPS_64 = 122,
  CU_ATTR_MAX = 146
};

enum { CU_CTX_FLAGS_MASK = 0xff };

enum { CU_STREAM_NON_BLOCKING = 1 };

/* Pseudo handles of streams. */
#define CU_STREAM_LEGACY     ((CUstream) 1)
#define CU_STREAM_PER_THREAD ((CUstream) 2)

enum {
  CU_STREAM_WRITE_VALUE_DEFAULT = 0,
  CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER = 1
};

enum { CU_EVENT_FLAGS_MASK = 7 };

enum {
  CU_MEMHOSTALLOC_PORTABLE = 1,
  CU_MEMHOSTALLOC_DEVICEMAP = 2,
  CU_MEMHOSTALLOC_WRITECOMBINED = 4
};

enum {
  CU_MEM_ALLOCATION_TYPE_PINNED = 1,
  CU_MEM_HANDLE_TYPE_NONE = 0,
  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1,
  CU_MEM_LOCATION_TYPE_DEVICE = 1,
  CU_MEM_ACCESS_FLAGS_PROT_NONE = 0,
  CU_MEM_ACCESS_FLAGS_PROT_READ = 1,
  CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3
};

typedef struct {
  unsigned char bytes[16];
} CUuuid;

typedef struct {
  int32_t type;
  int32_t id;
} CUmemLocation;

typedef struct {
  int32_t type;
  int32_t requested_handle_types;
  CUmemLocation location;
  void *win32_handle_meta_data;
  struct {
    uint8_t compression_type;
    uint8_t gpu_direct_rdma_capable;
    uint16_t usage;
    uint8_t reserved[4];
  } alloc_flags;
} CUmemAllocationProp;

typedef struct {
  CUmemLocation location;
  int32_t flags;
} CUmemAccessDesc;

_Static_assert(sizeof (CUmemAllocationProp) == 32 || sizeof (void *) != 8,
               "CUmemAllocationProp is 32 bytes in the 64-bit ABI");
_Static_assert(sizeof (CUmemAccessDesc) == 12, "CUmemAccessDesc is 12 bytes");

CUresult cuInit (unsigned int flags);
CUresult cuDriverGetVersion (int *version);
CUresult cuGetErrorName (CUresult error, const char **str);
CUresult cuGetErrorString (CUresult error, const char **str);

CUresult cuDeviceGetCount (int *count);
CUresult cuDeviceGet (CUdevice *device, int ordinal);
CUresult cuDeviceGetName (char *name, int len, CUdevice dev);
CUresult cuDeviceGetUuid (CUuuid *uuid, CUdevice dev);
CUresult cuDeviceGetUuid_v2 (CUuuid *uuid, CUdevice dev);
CUresult cuDeviceTotalMem_v2 (size_t *bytes, CUdevice dev);
CUresult cuDeviceGetAttribute (int *value, int attribute, CUdevice dev);
CUresult cuDeviceGetPCIBusId (char *id, int len, CUdevice dev);

CUresult cuDevicePrimaryCtxRetain (CUcontext *ctx, CUdevice dev);
CUresult cuDevicePrimaryCtxRelease_v2 (CUdevice dev);
CUresult cuDevicePrimaryCtxSetFlags_v2 (CUdevice dev, unsigned int flags);
CUresult
cuDevicePrimaryCtxGetState (CUdevice dev, unsigned int *flags, int *active);
CUresult cuCtxSetCurrent (CUcontext ctx);
CUresult cuCtxGetCurrent (CUcontext *ctx);
CUresult cuCtxSynchronize (void);

CUresult cuMemGetInfo_v2 (size_t *free, size_t *total);
CUresult cuMemAlloc_v2 (CUdeviceptr *ptr, size_t size);
CUresult cuMemFree_v2 (CUdeviceptr ptr);
CUresult
cuMemGetAllocationGranularity (size_t *granularity,
                               const CUmemAllocationProp *prop, int option);
CUresult
cuMemCreate (CUmemGenericAllocationHandle *handle, size_t size,
             const CUmemAllocationProp *prop, unsigned long long flags);
CUresult cuMemRelease (CUmemGenericAllocationHandle handle);
CUresult cuMemAddressReserve (CUdeviceptr *ptr, size_t size, size_t alignment,
                              CUdeviceptr addr, unsigned long long flags);
CUresult cuMemAddressFree (CUdeviceptr ptr, size_t size);
CUresult
cuMemMap (CUdeviceptr ptr, size_t size, size_t offset,
          CUmemGenericAllocationHandle handle, unsigned long long flags);
CUresult cuMemUnmap (CUdeviceptr ptr, size_t size);
CUresult cuMemSetAccess (CUdeviceptr ptr, size_t size,
                         const CUmemAccessDesc *desc, size_t count);
CUresult cuMemExportToShareableHandle (void *shareable,
                                       CUmemGenericAllocationHandle handle,
                                       int type, unsigned long long flags);
CUresult cuMemImportFromShareableHandle (CUmemGenericAllocationHandle *handle,
                                         void *os_handle, int type);

CUresult cuMemHostAlloc (void **ptr, size_t size, unsigned int flags);
CUresult cuMemFreeHost (void *ptr);
CUresult cuMemHostGetDevicePointer_v2 (CUdeviceptr *dptr, void *ptr,
                                       unsigned int flags);

CUresult cuStreamCreate (CUstream *stream, unsigned int flags);
CUresult cuStreamDestroy_v2 (CUstream stream);
CUresult cuStreamQuery (CUstream stream);
CUresult cuStreamSynchronize (CUstream stream);
CUresult cuStreamWriteValue32_v2 (CUstream stream, CUdeviceptr addr,
                                  uint32_t value, unsigned int flags);
CUresult cuEventCreate (CUevent *event, unsigned int flags);
CUresult cuEventDestroy_v2 (CUevent event);
CUresult cuEventRecord (CUevent event, CUstream stream);
CUresult cuEventQuery (CUevent event);
CUresult cuEventSynchronize (CUevent event);

CUresult cuMemcpyHtoD_v2 (CUdeviceptr dst, const void *src, size_t size);
CUresult cuMemcpyDtoH_v2 (void *dst, CUdeviceptr src, size_t size);
CUresult cuMemcpyHtoDAsync_v2 (CUdeviceptr dst, const void *src, size_t size,
                               CUstream stream);
CUresult cuMemcpyDtoHAsync_v2 (void *dst, CUdeviceptr src, size_t size,
                               CUstream stream);
CUresult cuMemsetD8_v2 (CUdeviceptr dst, unsigned char value, size_t size);
CUresult cuMemsetD8Async (CUdeviceptr dst, unsigned char value, size_t size,
                          CUstream stream);

#endif /* STANDIN_CUDA_ABI_H */
