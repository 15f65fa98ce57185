/* nbdkit-vram: the part of Vulkan that is used
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LIBVULKAN_H
#define VRAM_LIBVULKAN_H

#include <stddef.h>
#include <stdint.h>

/* The ABI, written by hand after the Vulkan specification, version 1.1 with
 * VK_KHR_external_memory_fd 1 (unchanged in 1.4), so that no Vulkan headers
 * are needed to build.  Every enumeration and every set of flags is 32 bits
 * in that ABI.
 */
typedef int32_t VkResult;
typedef int32_t VkStructureType;
typedef uint32_t VkFlags;
typedef struct VkInstance_T *VkInstance;
typedef struct VkPhysicalDevice_T *VkPhysicalDevice;
typedef struct VkDevice_T *VkDevice;
/* A handle that has 64 bits even if pointers have 32. */
typedef uint64_t VkDeviceMemory;

enum {
  VK_SUCCESS = 0,
  VK_INCOMPLETE = 5,
  VK_ERROR_OUT_OF_HOST_MEMORY = -1,
  VK_ERROR_OUT_OF_DEVICE_MEMORY = -2,
  VK_ERROR_INITIALIZATION_FAILED = -3,
  VK_ERROR_DEVICE_LOST = -4,
  VK_ERROR_MEMORY_MAP_FAILED = -5,
  VK_ERROR_LAYER_NOT_PRESENT = -6,
  VK_ERROR_EXTENSION_NOT_PRESENT = -7,
  VK_ERROR_FEATURE_NOT_PRESENT = -8,
  VK_ERROR_INCOMPATIBLE_DRIVER = -9,
  VK_ERROR_TOO_MANY_OBJECTS = -10,
  VK_ERROR_INVALID_EXTERNAL_HANDLE = -1000072003,
};

enum {
  VK_STRUCTURE_TYPE_APPLICATION_INFO = 0,
  VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO = 1,
  VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO = 2,
  VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO = 3,
  VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO = 5,
  VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 = 1000059001,
  VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES = 1000071004,
  VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR = 1000074000,
};

enum {
  VK_QUEUE_GRAPHICS_BIT = 1,
  VK_QUEUE_COMPUTE_BIT = 2,
  VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT = 1,
  VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT = 2,
  VK_MEMORY_PROPERTY_HOST_COHERENT_BIT = 4,
  VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT = 1,
};

#define VK_API_VERSION_1_1 ((1U << 22) | (1U << 12))
#define VK_WHOLE_SIZE      (~UINT64_C (0))

#define VK_KHR_EXTERNAL_MEMORY_FD "VK_KHR_external_memory_fd"

typedef struct {
  VkStructureType type;
  const void *next;
  const char *application_name;
  uint32_t application_version;
  const char *engine_name;
  uint32_t engine_version;
  uint32_t api_version;
} VkApplicationInfo;

typedef struct {
  VkStructureType type;
  const void *next;
  VkFlags flags;
  const VkApplicationInfo *application_info;
  uint32_t layer_count;
  const char *const *layers;
  uint32_t extension_count;
  const char *const *extensions;
} VkInstanceCreateInfo;

typedef struct {
  VkStructureType type;
  const void *next;
  VkFlags flags;
  uint32_t family;
  uint32_t count;
  const float *priorities;
} VkDeviceQueueCreateInfo;

typedef struct {
  VkStructureType type;
  const void *next;
  VkFlags flags;
  uint32_t queue_count;
  const VkDeviceQueueCreateInfo *queues;
  uint32_t layer_count;
  const char *const *layers;
  uint32_t extension_count;
  const char *const *extensions;
  const void *features;
} VkDeviceCreateInfo;

typedef struct {
  VkStructureType type;
  void *next;
  uint8_t device_uuid[16];
  uint8_t driver_uuid[16];
  uint8_t device_luid[8];
  uint32_t device_node_mask;
  uint32_t device_luid_valid;
} VkPhysicalDeviceIDProperties;

typedef struct {
  VkStructureType type;
  void *next;
  /* VkPhysicalDeviceProperties; the fields after the name are not used. */
  uint32_t api_version;
  uint32_t driver_version;
  uint32_t vendor_id;
  uint32_t device_id;
  int32_t device_type;
  char device_name[256];
  uint8_t pipeline_cache_uuid[16];
  uint64_t limits[63];
  uint32_t sparse_properties[5];
} VkPhysicalDeviceProperties2;

typedef struct {
  char name[256];
  uint32_t version;
} VkExtensionProperties;

typedef struct {
  VkFlags flags;
  uint32_t count;
  uint32_t timestamp_valid_bits;
  uint32_t min_image_transfer_granularity[3];
} VkQueueFamilyProperties;

typedef struct {
  uint32_t type_count;
  struct {
    VkFlags properties;
    uint32_t heap;
  } type[32];
  uint32_t heap_count;
  struct {
    uint64_t size; /* bytes */
    VkFlags flags;
  } heap[16];
} VkPhysicalDeviceMemoryProperties;

typedef struct {
  VkStructureType type;
  const void *next;
  uint64_t size;
  uint32_t memory_type;
} VkMemoryAllocateInfo;

typedef struct {
  VkStructureType type;
  const void *next;
  VkFlags handle_type;
  int fd;
} VkImportMemoryFdInfoKHR;

_Static_assert(sizeof (VkExtensionProperties) == 260, "ABI of Vulkan 1.0");
_Static_assert(sizeof (VkQueueFamilyProperties) == 24, "ABI of Vulkan 1.0");
_Static_assert(sizeof (void *) != 8 ||
                   sizeof (VkPhysicalDeviceProperties2) == 840,
               "ABI of Vulkan 1.1");
_Static_assert(sizeof (void *) != 8 ||
                   sizeof (VkPhysicalDeviceMemoryProperties) == 520,
               "ABI of Vulkan 1.0");

/* The table of entry points, one field a function. */
struct libvulkan {
#define STUB(field, symbol, type, args) type (*field) args;
#include "gpu/vulkan/libvulkan-stubs.h"
#undef STUB
};

extern struct libvulkan libvulkan;

/* Set environment variables that keep other drivers and layers out of this
 * process (see libvulkan.c).  Call it before the process has threads.
 */
extern void libvulkan_prepare (void);

/* Load libvulkan.so.1 and fill the table.  Returns 0, or -1 with the reason in
 * libvulkan_load_error ().  Calling it again after success does nothing.
 */
extern int libvulkan_load (void);

/* Why libvulkan_load failed, one line. */
extern const char *libvulkan_load_error (void);

/* The specification's name for RESULT, a constant string. */
extern const char *libvulkan_result_name (VkResult result);

#endif /* VRAM_LIBVULKAN_H */
