/* nbdkit-vram: the names and descriptions of the stand-in driver's errors
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <string.h>

#include "standin.h"

static const struct {
  CUresult code;
  const char *name;
  const char *text;
} errors[] = {
#define E(name, text)                                                         \
  {                                                                           \
    name, #name, text                                                         \
  }
  E (CUDA_SUCCESS, "no error"),
  E (CUDA_ERROR_INVALID_VALUE, "invalid argument"),
  E (CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
  E (CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
  E (CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
  E (CUDA_ERROR_DEVICE_UNAVAILABLE,
     "CUDA-capable device(s) is/are busy or unavailable"),
  E (CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
  E (CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
  E (CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
  E (CUDA_ERROR_MAP_FAILED, "mapping of buffer object failed"),
  E (CUDA_ERROR_UNMAP_FAILED, "unmapping of buffer object failed"),
  E (CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered"),
  E (CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported"),
  E (CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
  E (CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the "
                               "present state"),
  E (CUDA_ERROR_NOT_FOUND, "named symbol not found"),
  E (CUDA_ERROR_NOT_READY, "device not ready"),
  E (CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
  E (CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
  E (CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE,
     "cannot set while device is active in this process"),
  E (CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
  E (CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
  E (CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
  E (CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
  E (CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized"),
  E (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
     "system has unsupported display driver / cuda driver combination"),
  E (CUDA_ERROR_UNKNOWN, "unknown error"),
#undef E
};

#define COUNT (sizeof errors / sizeof errors[0])

CUresult
error_by_name (const char *s)
{
  size_t i;

  for (i = 0; i < COUNT; i++)
    if (strcmp (errors[i].name, s) == 0)
      return errors[i].code;
  return -1;
}

/* Returns the index of ERROR, or COUNT. */
static size_t
find (CUresult error)
{
  size_t i;

  for (i = 0; i < COUNT; i++)
    if (errors[i].code == error)
      break;
  return i;
}

EXPORT CUresult
cuGetErrorName (CUresult error, const char **str)
{
  size_t i = find (error);
  CUresult r = enter (FN_cuGetErrorName, NULL);

  if (r)
    return r;
  if (!str)
    return CUDA_ERROR_INVALID_VALUE;
  *str = i < COUNT ? errors[i].name : NULL;
  return i < COUNT ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

EXPORT CUresult
cuGetErrorString (CUresult error, const char **str)
{
  size_t i = find (error);
  CUresult r = enter (FN_cuGetErrorString, NULL);

  if (r)
    return r;
  if (!str)
    return CUDA_ERROR_INVALID_VALUE;
  *str = i < COUNT ? errors[i].text : NULL;
  return i < COUNT ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
