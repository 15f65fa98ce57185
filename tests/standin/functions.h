/* nbdkit-vram: every function that the stand-in driver exports, and what it
 * needs
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* FUNCTION (NAME, NEEDS), one in each line, because the Makefile takes the
 * list of exported symbols from here.  There is no include guard: files define
 * FUNCTION and include this.
 *
 * ANY   may be called before cuInit
 * INIT  CUDA_ERROR_NOT_INITIALIZED before cuInit and after fork
 * DEV   INIT, and fails once a device is lost
 * CTX   INIT, and needs a current context that is alive and not lost
 * VMM   DEV, and missing in drivers without virtual memory management
 */
FUNCTION (cuInit, ANY)
FUNCTION (cuDriverGetVersion, ANY)
FUNCTION (cuGetErrorName, ANY)
FUNCTION (cuGetErrorString, ANY)
FUNCTION (cuDeviceGetCount, INIT)
FUNCTION (cuDeviceGet, INIT)
FUNCTION (cuDeviceGetName, INIT)
FUNCTION (cuDeviceGetUuid, INIT)
FUNCTION (cuDeviceGetUuid_v2, INIT)
FUNCTION (cuDeviceTotalMem_v2, INIT)
FUNCTION (cuDeviceGetAttribute, INIT)
FUNCTION (cuDeviceGetPCIBusId, INIT)
FUNCTION (cuDevicePrimaryCtxRetain, INIT)
FUNCTION (cuDevicePrimaryCtxRelease_v2, INIT)
FUNCTION (cuDevicePrimaryCtxSetFlags_v2, INIT)
FUNCTION (cuDevicePrimaryCtxGetState, INIT)
FUNCTION (cuCtxSetCurrent, INIT)
FUNCTION (cuCtxGetCurrent, INIT)
FUNCTION (cuCtxSynchronize, CTX)
FUNCTION (cuMemGetInfo_v2, CTX)
FUNCTION (cuMemAlloc_v2, CTX)
FUNCTION (cuMemFree_v2, CTX)
FUNCTION (cuMemGetAllocationGranularity, VMM)
FUNCTION (cuMemCreate, VMM)
FUNCTION (cuMemRelease, VMM)
FUNCTION (cuMemAddressReserve, VMM)
FUNCTION (cuMemAddressFree, VMM)
FUNCTION (cuMemMap, VMM)
FUNCTION (cuMemUnmap, VMM)
FUNCTION (cuMemSetAccess, VMM)
FUNCTION (cuMemExportToShareableHandle, VMM)
FUNCTION (cuMemImportFromShareableHandle, VMM)
FUNCTION (cuMemHostAlloc, CTX)
FUNCTION (cuMemFreeHost, CTX)
FUNCTION (cuMemHostGetDevicePointer_v2, CTX)
FUNCTION (cuStreamCreate, CTX)
FUNCTION (cuStreamDestroy_v2, CTX)
FUNCTION (cuStreamQuery, CTX)
FUNCTION (cuStreamSynchronize, CTX)
FUNCTION (cuStreamWriteValue32_v2, CTX)
FUNCTION (cuEventCreate, CTX)
FUNCTION (cuEventDestroy_v2, CTX)
FUNCTION (cuEventRecord, CTX)
FUNCTION (cuEventQuery, CTX)
FUNCTION (cuEventSynchronize, CTX)
FUNCTION (cuMemcpyHtoD_v2, CTX)
FUNCTION (cuMemcpyDtoH_v2, CTX)
FUNCTION (cuMemcpyHtoDAsync_v2, CTX)
FUNCTION (cuMemcpyDtoHAsync_v2, CTX)
FUNCTION (cuMemsetD8_v2, CTX)
FUNCTION (cuMemsetD8Async, CTX)
