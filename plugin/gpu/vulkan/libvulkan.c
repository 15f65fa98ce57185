/* nbdkit-vram: finds libvulkan.so.1 and its entry points at run time
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/vulkan/libvulkan.h"
#include "gpu/library.h"

#define LIBRARY "libvulkan.so.1"

struct libvulkan libvulkan;

static void *handle;
static char load_error[512];

const char *
libvulkan_load_error (void)
{
  return load_error;
}

/* libvulkan.so.1 is a loader.  It opens every Vulkan driver of the machine,
 * including software renderers of 100 MiB, and the layers that overlays and
 * recorders install for all programs.  Such a layer may open sockets, start
 * threads, and allocate at any time, which this process must not do.  These
 * variables select the NVIDIA driver and disable implicit layers.  Loaders
 * older than 1.3.234 ignore them, and there is no other way.  Values of the
 * user stay.
 */
void
libvulkan_prepare (void)
{
  setenv ("VK_LOADER_LAYERS_DISABLE", "~implicit~", 0);
  setenv ("VK_LOADER_DRIVERS_SELECT", "*nvidia*", 0);
}

int
libvulkan_load (void)
{
  const char *missing = NULL;

  if (handle)
    return 0;

  handle = library_open (LIBRARY);
  if (handle == NULL) {
    snprintf (load_error, sizeof load_error,
              "cannot load %s: %s; install the Vulkan loader (Debian: "
              "libvulkan1, Fedora: vulkan-loader)",
              LIBRARY, dlerror ());
    return -1;
  }

#define STUB(field, symbol, type, args)                                       \
  if (!library_symbol (handle, #symbol, &libvulkan.field) && missing == NULL) \
    missing = #symbol;
#include "gpu/vulkan/libvulkan-stubs.h"
#undef STUB

  if (missing) {
    snprintf (
        load_error, sizeof load_error,
        "%s does not have the function %s: the Vulkan loader is too old; "
        "version 1.1 or newer is needed",
        LIBRARY, missing);
    dlclose (handle);
    handle = NULL;
    return -1;
  }
  return 0;
}

const char *
libvulkan_result_name (VkResult result)
{
#define NAME(result)                                                          \
  case result:                                                                \
    return #result
  switch (result) {
    NAME (VK_ERROR_OUT_OF_HOST_MEMORY);
    NAME (VK_ERROR_OUT_OF_DEVICE_MEMORY);
    NAME (VK_ERROR_INITIALIZATION_FAILED);
    NAME (VK_ERROR_DEVICE_LOST);
    NAME (VK_ERROR_MEMORY_MAP_FAILED);
    NAME (VK_ERROR_LAYER_NOT_PRESENT);
    NAME (VK_ERROR_EXTENSION_NOT_PRESENT);
    NAME (VK_ERROR_FEATURE_NOT_PRESENT);
    NAME (VK_ERROR_INCOMPATIBLE_DRIVER);
    NAME (VK_ERROR_TOO_MANY_OBJECTS);
    NAME (VK_ERROR_INVALID_EXTERNAL_HANDLE);
  default:
    return "unknown Vulkan error";
  }
#undef NAME
}
