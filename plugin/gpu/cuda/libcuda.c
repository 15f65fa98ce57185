/* nbdkit-vram: finds libcuda.so.1 and its entry points at run time
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>

#include "common/log.h"
#include "gpu/cuda/libcuda.h"
#include "gpu/library.h"

#define LIBRARY "libcuda.so.1"

struct libcuda libcuda;

static void *handle;

int
libcuda_load (void)
{
  const char *missing = NULL;

  if (handle)
    return 0;

  handle = library_open (LIBRARY);
  if (handle == NULL) {
    log_error ("cannot load %s, the library of the NVIDIA driver: %s; "
               "install the driver's CUDA library (Debian: libcuda1, "
               "Fedora: xorg-x11-drv-nvidia-cuda-libs)",
               LIBRARY, dlerror ());
    return -1;
  }

#define STUB(field, symbol, args)                                             \
  if (!library_symbol (handle, #symbol, &libcuda.field) && missing == NULL)   \
    missing = #symbol;
#define OPTIONAL_STUB(field, symbol, args)                                    \
  library_symbol (handle, #symbol, &libcuda.field);
#include "gpu/cuda/libcuda-stubs.h"
#undef STUB
#undef OPTIONAL_STUB

  if (missing) {
    log_error ("%s does not have the function %s: the NVIDIA driver is too "
               "old; version 450 or newer is needed",
               LIBRARY, missing);
    dlclose (handle);
    handle = NULL;
    return -1;
  }
  return 0;
}
