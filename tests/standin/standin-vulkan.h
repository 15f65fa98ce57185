/* nbdkit-vram: the stand-in for Vulkan's loader and driver: how tests control
 * it, and its internals
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* A libvulkan.so.1, beside the stand-in libcuda.so.1 in tests/standin/.libs,
 * that can import VRAM that the stand-in CUDA driver has exported, and map it.
 * It lists a software renderer first, as many machines do, and then the GPUs,
 * with the names, UUIDs and sizes of the CUDA stand-in (STANDIN_CUDA_DEVICES,
 * NAMES, UUIDS, MEMORY).
 *
 * CODE is a VkResult as a number, LIST and SIZE as in standin.h.
 *
 * The machine (prefix STANDIN_VULKAN_):
 *
 * VERSION=N.N      of the loader and the devices, default 1.3
 * NO_ICD=1         no driver is installed: vkCreateInstance returns
 *                  VK_ERROR_INCOMPATIBLE_DRIVER
 * DEVICES=N        how many GPUs Vulkan sees, default as CUDA; 0: only the
 *                  software renderer
 * UUIDS=LIST       deviceUUID of each, default as CUDA
 * NO_EXTENSION=1   the GPUs lack VK_KHR_external_memory_fd
 * NO_TYPE=1        no memory type is DEVICE_LOCAL and HOST_VISIBLE
 * HEAP=SIZE        such a type has a heap of its own of this size, as without
 *                  Resizable BAR (246M there), and no more can be mapped at a
 *                  time; default the heap with all VRAM
 *
 * Faults:
 *
 * FAIL=NAME[:CODE[:N]],...
 *                  the function NAME returns CODE (default -3,
 *                  VK_ERROR_INITIALIZATION_FAILED), from its Nth call on
 *                  (default 1).  An import that fails does not take the
 *                  descriptor
 * FAULT_FILE=FILE  while FILE exists an access to any mapping raises SIGBUS.
 *                  When that holds for all mappings, FILE.active exists, too.
 *                  After FILE was removed the mappings have their content
 *                  again, and FILE.active disappears
 *
 * Output:
 *
 * REPORT=FILE      written when a process that made an instance exits by exit:
 *                  "leaked KIND COUNT" for each kind of thing not freed
 *                  (instance, device, memory, mapping), empty if none.  %p
 *                  stands for the process id
 *
 * It is strict, where a driver may do anything: wrong structure types,
 * extensions that were not enabled, a memory type that does not fit, a size
 * other than the imported memory's, and a second mapping are errors.
 * vkGetMemoryFdPropertiesKHR refuses OPAQUE_FD, for which it is not specified.
 *
 * VRAM that was not accessed yet becomes garbage when it is mapped, up to 64
 * MiB of each allocation, and zeros beyond that, to save host memory.
 *
 * It does not support queues, memory that is not imported, and export.
 */
#ifndef STANDIN_VULKAN_H
#define STANDIN_VULKAN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "settings.h"
#include "vulkan-abi.h"

#define VK_FUNCTIONS(X)                                                       \
  X (vkGetInstanceProcAddr)                                                   \
  X (vkGetDeviceProcAddr)                                                     \
  X (vkEnumerateInstanceVersion)                                              \
  X (vkEnumerateInstanceExtensionProperties)                                  \
  X (vkCreateInstance)                                                        \
  X (vkDestroyInstance)                                                       \
  X (vkEnumeratePhysicalDevices)                                              \
  X (vkGetPhysicalDeviceProperties)                                           \
  X (vkGetPhysicalDeviceProperties2)                                          \
  X (vkGetPhysicalDeviceMemoryProperties)                                     \
  X (vkGetPhysicalDeviceMemoryProperties2)                                    \
  X (vkGetPhysicalDeviceQueueFamilyProperties)                                \
  X (vkEnumerateDeviceExtensionProperties)                                    \
  X (vkCreateDevice)                                                          \
  X (vkDestroyDevice)                                                         \
  X (vkAllocateMemory)                                                        \
  X (vkFreeMemory)                                                            \
  X (vkMapMemory)                                                             \
  X (vkUnmapMemory)                                                           \
  X (vkGetMemoryFdPropertiesKHR)

enum vk_function {
#define X(name) FN_##name,
  VK_FUNCTIONS (X)
#undef X
      FN_VK_COUNT
};

#define MAX_GPUS 17

struct gpu {
  VkPhysicalDeviceProperties properties;
  VkPhysicalDeviceMemoryProperties memory;
  unsigned char uuid[16];
  bool software;
};

struct device {
  const struct gpu *gpu;
  bool external_memory; /* VK_KHR_external_memory_fd was enabled */
};

/* Loads the settings, counts the call, and returns the error to fail with, or
 * VK_SUCCESS.
 */
extern VkResult vk_enter (enum vk_function fn);

/* FAULT_FILE, or NULL. */
extern const char *vk_fault_file;

enum vk_resource {
  VK_INSTANCE,
  VK_DEVICE,
  VK_MEMORY,
  VK_MAPPING,
  VK_RESOURCES
};

extern void vk_count (enum vk_resource res, int n);

#endif /* STANDIN_VULKAN_H */
