/* nbdkit-vram: loads the functions of the CUDA driver that only the benchmarks
 * call
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "extra.h"

struct extra extra;

const char *
extra_load (void)
{
  const struct {
    const char *symbol;
    void *field;
    bool optional;
  } symbols[] = {
    { "cuMemcpyHtoD_v2", &extra.memcpy_htod, false },
    { "cuMemcpyDtoH_v2", &extra.memcpy_dtoh, false },
    { "cuStreamSynchronize", &extra.stream_synchronize, false },
    { "cuMemHostGetDevicePointer_v2", &extra.mem_host_get_device_pointer,
      false },
    { "cuStreamWriteValue32_v2", &extra.stream_write_value32, true },
  };
  /* It is already loaded.  This only finds the handle again. */
  void *handle = dlopen ("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  size_t i;

  if (handle == NULL)
    return "itself, a second time";

  for (i = 0; i < sizeof symbols / sizeof symbols[0]; ++i) {
    void *address = dlsym (handle, symbols[i].symbol);

    if (address == NULL && !symbols[i].optional)
      return symbols[i].symbol;
    memcpy (symbols[i].field, &address, sizeof address);
  }
  return NULL;
}
