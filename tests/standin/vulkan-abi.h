/* nbdkit-vram: the part of Vulkan's ABI that the stand-in exports
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Written from the specification of Vulkan 1.1 and VK_KHR_external_memory_fd,
 * separately from the plugin's declarations, for the reason in cuda-abi.h.
 */
#ifndef STANDIN_VULKAN_ABI_H
#define STANDIN_VULKAN_ABI_H

#include <stdint.h>

typedef int32_t VkResult;
typedef uint32_t VkFlags;
typedef struct instance *VkInstance;
typedef struct gpu *VkPhysicalDevice;
typedef struct device *VkDevice;
typedef uint64_t VkDeviceMemory; /* not dispatchable: 64 bits everywhere */
typedef void (*PFN_vkVoidFunction) (void);

enum {
  VK_SUCCESS = 0,
  VK_INCOMPLETE = 5,
  VK_ERROR_OUT_OF_HOST_MEMORY = -1,
  VK_ERROR_OUT_OF_DEVICE_MEMORY = -2,
  VK_ERROR_INITIALIZATION_FAILED = -3,
  VK_ERROR_MEMORY_MAP_FAILED = -5,
  VK_ERROR_LAYER_NOT_PRESENT = -6,
  VK_ERROR_EXTENSION_NOT_PRESENT = -7,
  VK_ERROR_FEATURE_NOT_PRESENT = -8,
  VK_ERROR_INCOMPATIBLE_DRIVER = -9,
  VK_ERROR_INVALID_EXTERNAL_HANDLE = -1000072003
};

enum {
  VK_TYPE_APPLICATION_INFO = 0,
  VK_TYPE_INSTANCE_CREATE_INFO = 1,
  VK_TYPE_DEVICE_QUEUE_CREATE_INFO = 2,
  VK_TYPE_DEVICE_CREATE_INFO = 3,
  VK_TYPE_MEMORY_ALLOCATE_INFO = 5,
  VK_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 = 1000059001,
  VK_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2 = 1000059006,
  VK_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES = 1000071004,
  VK_TYPE_IMPORT_MEMORY_FD_INFO = 1000074000
};

enum {
  VK_DEVICE_TYPE_DISCRETE_GPU = 2,
  VK_DEVICE_TYPE_CPU = 4,
  VK_QUEUE_COMPUTE = 2,
  VK_QUEUE_TRANSFER = 4,
  VK_MEMORY_DEVICE_LOCAL = 1,
  VK_MEMORY_HOST_VISIBLE = 2,
  VK_MEMORY_HOST_COHERENT = 4,
  VK_MEMORY_HOST_CACHED = 8,
  VK_HEAP_DEVICE_LOCAL = 1,
  VK_HANDLE_TYPE_OPAQUE_FD = 1
};

#define VK_VERSION(major, minor) ((uint32_t) (major) << 22 | (minor) << 12)
#define VK_WHOLE_SIZE            UINT64_MAX

/* Every structure that can be extended begins with this. */
struct vk_chain {
  int32_t type;
  void *next;
};

typedef struct {
  int32_t type;
  const void *next;
  const char *application_name;
  uint32_t application_version;
  const char *engine_name;
  uint32_t engine_version;
  uint32_t api_version;
} VkApplicationInfo;

typedef struct {
  int32_t type;
  const void *next;
  VkFlags flags;
  const VkApplicationInfo *application;
  uint32_t layer_count;
  const char *const *layers;
  uint32_t extension_count;
  const char *const *extensions;
} VkInstanceCreateInfo;

typedef struct {
  int32_t type;
  const void *next;
  VkFlags flags;
  uint32_t family;
  uint32_t count;
  const float *priorities;
} VkDeviceQueueCreateInfo;

typedef struct {
  int32_t type;
  const void *next;
  VkFlags flags;
  uint32_t queue_info_count;
  const VkDeviceQueueCreateInfo *queue_infos;
  uint32_t layer_count;
  const char *const *layers;
  uint32_t extension_count;
  const char *const *extensions;
  const void *features;
} VkDeviceCreateInfo;

typedef struct {
  uint32_t api_version;
  uint32_t driver_version;
  uint32_t vendor_id;
  uint32_t device_id;
  int32_t device_type;
  char name[256];
  uint8_t pipeline_cache_uuid[16];
  uint64_t limits[63]; /* VkPhysicalDeviceLimits: 504 bytes */
  uint32_t sparse[5];
} VkPhysicalDeviceProperties;

typedef struct {
  int32_t type;
  void *next;
  VkPhysicalDeviceProperties properties;
} VkPhysicalDeviceProperties2;

typedef struct {
  int32_t type;
  void *next;
  uint8_t device_uuid[16];
  uint8_t driver_uuid[16];
  uint8_t device_luid[8];
  uint32_t device_node_mask;
  uint32_t device_luid_valid;
} VkPhysicalDeviceIDProperties;

typedef struct {
  VkFlags flags;
  uint32_t heap;
} VkMemoryType;

typedef struct {
  uint64_t size;
  VkFlags flags;
} VkMemoryHeap;

typedef struct {
  uint32_t type_count;
  VkMemoryType types[32];
  uint32_t heap_count;
  VkMemoryHeap heaps[16];
} VkPhysicalDeviceMemoryProperties;

typedef struct {
  int32_t type;
  void *next;
  VkPhysicalDeviceMemoryProperties properties;
} VkPhysicalDeviceMemoryProperties2;

typedef struct {
  VkFlags flags;
  uint32_t count;
  uint32_t timestamp_valid_bits;
  uint32_t granularity[3];
} VkQueueFamilyProperties;

typedef struct {
  char name[256];
  uint32_t version;
} VkExtensionProperties;

typedef struct {
  int32_t type;
  const void *next;
  uint64_t size;
  uint32_t memory_type;
} VkMemoryAllocateInfo;

typedef struct {
  int32_t type;
  const void *next;
  VkFlags handle_type;
  int fd;
} VkImportMemoryFdInfoKHR;

typedef struct {
  int32_t type;
  void *next;
  uint32_t memory_types;
} VkMemoryFdPropertiesKHR;

PFN_vkVoidFunction
vkGetInstanceProcAddr (VkInstance instance, const char *name);
PFN_vkVoidFunction vkGetDeviceProcAddr (VkDevice device, const char *name);

VkResult vkEnumerateInstanceVersion (uint32_t *version);
VkResult
vkEnumerateInstanceExtensionProperties (const char *layer, uint32_t *count,
                                        VkExtensionProperties *properties);
VkResult vkCreateInstance (const VkInstanceCreateInfo *info,
                           const void *allocator, VkInstance *instance);
void vkDestroyInstance (VkInstance instance, const void *allocator);
VkResult vkEnumeratePhysicalDevices (VkInstance instance, uint32_t *count,
                                     VkPhysicalDevice *devices);
void vkGetPhysicalDeviceProperties (VkPhysicalDevice gpu,
                                    VkPhysicalDeviceProperties *properties);
void vkGetPhysicalDeviceProperties2 (VkPhysicalDevice gpu,
                                     VkPhysicalDeviceProperties2 *properties);
void vkGetPhysicalDeviceMemoryProperties (
    VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties *properties);
void vkGetPhysicalDeviceMemoryProperties2 (
    VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties2 *properties);
void
vkGetPhysicalDeviceQueueFamilyProperties (VkPhysicalDevice gpu,
                                          uint32_t *count,
                                          VkQueueFamilyProperties *properties);
VkResult
vkEnumerateDeviceExtensionProperties (VkPhysicalDevice gpu, const char *layer,
                                      uint32_t *count,
                                      VkExtensionProperties *properties);
VkResult vkCreateDevice (VkPhysicalDevice gpu, const VkDeviceCreateInfo *info,
                         const void *allocator, VkDevice *device);
void vkDestroyDevice (VkDevice device, const void *allocator);
VkResult vkAllocateMemory (VkDevice device, const VkMemoryAllocateInfo *info,
                           const void *allocator, VkDeviceMemory *memory);
void
vkFreeMemory (VkDevice device, VkDeviceMemory memory, const void *allocator);
VkResult vkMapMemory (VkDevice device, VkDeviceMemory memory, uint64_t offset,
                      uint64_t size, VkFlags flags, void **pointer);
void vkUnmapMemory (VkDevice device, VkDeviceMemory memory);
VkResult
vkGetMemoryFdPropertiesKHR (VkDevice device, VkFlags handle_type, int fd,
                            VkMemoryFdPropertiesKHR *properties);

#endif /* STANDIN_VULKAN_ABI_H */
