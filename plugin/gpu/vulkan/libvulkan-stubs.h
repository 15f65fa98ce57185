/* nbdkit-vram: the entry points of Vulkan that are used
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Included several times with STUB defined to declare, load or list.
 * Arguments: the field's name in struct libvulkan, the symbol that
 * libvulkan.so.1 exports, what it returns, the parameters.  All are core
 * functions of Vulkan 1.1, which the loader has to export.
 */

STUB (enumerate_instance_version, vkEnumerateInstanceVersion, VkResult,
      (uint32_t * version))
STUB (create_instance, vkCreateInstance, VkResult,
      (const VkInstanceCreateInfo *info, const void *allocator,
       VkInstance *instance))
STUB (destroy_instance, vkDestroyInstance, void,
      (VkInstance instance, const void *allocator))
STUB (enumerate_physical_devices, vkEnumeratePhysicalDevices, VkResult,
      (VkInstance instance, uint32_t *count, VkPhysicalDevice *devices))

STUB (get_properties, vkGetPhysicalDeviceProperties2, void,
      (VkPhysicalDevice device, VkPhysicalDeviceProperties2 *properties))
STUB (get_memory_properties, vkGetPhysicalDeviceMemoryProperties, void,
      (VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *properties))
STUB (get_queue_families, vkGetPhysicalDeviceQueueFamilyProperties, void,
      (VkPhysicalDevice device, uint32_t *count,
       VkQueueFamilyProperties *properties))
STUB (enumerate_extensions, vkEnumerateDeviceExtensionProperties, VkResult,
      (VkPhysicalDevice device, const char *layer, uint32_t *count,
       VkExtensionProperties *properties))

STUB (create_device, vkCreateDevice, VkResult,
      (VkPhysicalDevice gpu, const VkDeviceCreateInfo *info,
       const void *allocator, VkDevice *device))
STUB (destroy_device, vkDestroyDevice, void,
      (VkDevice device, const void *allocator))
STUB (allocate_memory, vkAllocateMemory, VkResult,
      (VkDevice device, const VkMemoryAllocateInfo *info,
       const void *allocator, VkDeviceMemory *memory))
STUB (free_memory, vkFreeMemory, void,
      (VkDevice device, VkDeviceMemory memory, const void *allocator))
STUB (map_memory, vkMapMemory, VkResult,
      (VkDevice device, VkDeviceMemory memory, uint64_t offset, uint64_t size,
       uint32_t flags, void **pointer))
STUB (unmap_memory, vkUnmapMemory, void,
      (VkDevice device, VkDeviceMemory memory))
