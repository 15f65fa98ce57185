/* nbdkit-vram: the entry points of the CUDA driver API that are used
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Included several times with STUB and OPTIONAL_STUB defined to declare, load
 * or list.  Arguments: the field's name in struct libcuda, the symbol that
 * libcuda.so.1 exports, the parameters.  Each returns CUresult.
 *
 * The suffixes _v2 are part of the ABI: the header of the CUDA toolkit hides
 * them behind macros, and the unsuffixed symbols are older versions of the
 * functions with other argument types.
 */

STUB (init, cuInit, (unsigned int flags))
STUB (driver_get_version, cuDriverGetVersion, (int *version))
STUB (get_error_name, cuGetErrorName, (CUresult error, const char **name))
STUB (get_error_string, cuGetErrorString, (CUresult error, const char **text))

STUB (device_get_count, cuDeviceGetCount, (int *count))
STUB (device_get, cuDeviceGet, (CUdevice * device, int ordinal))
STUB (device_get_name, cuDeviceGetName, (char *name, int len, CUdevice device))
STUB (device_get_uuid, cuDeviceGetUuid, (CUuuid * uuid, CUdevice device))
STUB (device_total_mem, cuDeviceTotalMem_v2, (size_t * bytes, CUdevice device))
STUB (device_get_attribute, cuDeviceGetAttribute,
      (int *value, CUdevice_attribute attribute, CUdevice device))
STUB (primary_ctx_retain, cuDevicePrimaryCtxRetain,
      (CUcontext * context, CUdevice device))
STUB (primary_ctx_release, cuDevicePrimaryCtxRelease_v2, (CUdevice device))
STUB (ctx_set_current, cuCtxSetCurrent, (CUcontext context))

STUB (mem_get_info, cuMemGetInfo_v2,
      (size_t * bytes_free, size_t *bytes_total))
STUB (mem_alloc, cuMemAlloc_v2, (CUdeviceptr * pointer, size_t bytes))
STUB (mem_free, cuMemFree_v2, (CUdeviceptr pointer))
STUB (mem_host_alloc, cuMemHostAlloc,
      (void **pointer, size_t bytes, unsigned int flags))
STUB (mem_free_host, cuMemFreeHost, (void *pointer))

STUB (stream_create, cuStreamCreate, (CUstream * stream, unsigned int flags))
STUB (stream_destroy, cuStreamDestroy_v2, (CUstream stream))
STUB (stream_query, cuStreamQuery, (CUstream stream))
STUB (event_create, cuEventCreate, (CUevent * event, unsigned int flags))
STUB (event_destroy, cuEventDestroy_v2, (CUevent event))
STUB (event_record, cuEventRecord, (CUevent event, CUstream stream))
STUB (event_query, cuEventQuery, (CUevent event))
STUB (memcpy_htod_async, cuMemcpyHtoDAsync_v2,
      (CUdeviceptr dst, const void *src, size_t bytes, CUstream stream))
STUB (memcpy_dtoh_async, cuMemcpyDtoHAsync_v2,
      (void *dst, CUdeviceptr src, size_t bytes, CUstream stream))
STUB (memset_d8_async, cuMemsetD8Async,
      (CUdeviceptr dst, unsigned char value, size_t bytes, CUstream stream))

/* Virtual memory management, CUDA 10.2 and newer.  Drivers with the functions
 * above should have these too, but need not.
 */
OPTIONAL_STUB (mem_get_allocation_granularity, cuMemGetAllocationGranularity,
               (size_t * granularity, const CUmemAllocationProp *prop,
                CUmemAllocationGranularity_flags option))
OPTIONAL_STUB (mem_create, cuMemCreate,
               (CUmemGenericAllocationHandle * handle, size_t bytes,
                const CUmemAllocationProp *prop, unsigned long long flags))
OPTIONAL_STUB (mem_release, cuMemRelease,
               (CUmemGenericAllocationHandle handle))
OPTIONAL_STUB (mem_address_reserve, cuMemAddressReserve,
               (CUdeviceptr * pointer, size_t bytes, size_t alignment,
                CUdeviceptr address, unsigned long long flags))
OPTIONAL_STUB (mem_address_free, cuMemAddressFree,
               (CUdeviceptr pointer, size_t bytes))
OPTIONAL_STUB (mem_map, cuMemMap,
               (CUdeviceptr pointer, size_t bytes, size_t offset,
                CUmemGenericAllocationHandle handle, unsigned long long flags))
OPTIONAL_STUB (mem_unmap, cuMemUnmap, (CUdeviceptr pointer, size_t bytes))
OPTIONAL_STUB (mem_set_access, cuMemSetAccess,
               (CUdeviceptr pointer, size_t bytes, const CUmemAccessDesc *desc,
                size_t count))
OPTIONAL_STUB (mem_export, cuMemExportToShareableHandle,
               (void *shareable, CUmemGenericAllocationHandle handle,
                CUmemAllocationHandleType type, unsigned long long flags))
OPTIONAL_STUB (mem_import, cuMemImportFromShareableHandle,
               (CUmemGenericAllocationHandle * handle, void *shareable,
                CUmemAllocationHandleType type))
