/* nbdkit-vram: the stand-in for Vulkan: instances, GPUs and devices
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "standin-vulkan.h"

#define PREFIX     "STANDIN_VULKAN_"
#define CUDA       "STANDIN_CUDA_"
#define EXTENSION  "VK_KHR_external_memory_fd"
#define MAX_FAULTS 16

struct instance {
  uint32_t api_version; /* that the application asked for */
  struct instance *next;
};

/* The instances that exist.  They keep the driver's objects reachable, so that
 * leak checkers do not report them when an application stops calling a lost
 * driver.
 */
static struct instance *instances;
static pthread_mutex_t instances_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const names[FN_VK_COUNT] = {
#define X(name) #name,
  VK_FUNCTIONS (X)
#undef X
};

static uint32_t version;
static bool no_icd, no_extension;
static struct gpu gpus[MAX_GPUS];
static uint32_t nr_gpus;
/* At most one instance matters.  Its version decides what its devices answer.
 */
static _Atomic uint32_t instance_version;

static struct {
  enum vk_function fn;
  VkResult code;
  uint64_t from;
} faults[MAX_FAULTS];
static unsigned int nr_faults;
static _Atomic uint64_t calls[FN_VK_COUNT];

const char *vk_fault_file;
static const char *report_file;
static _Atomic pid_t report_pid;
static _Atomic int resources[VK_RESOURCES];
static const char *const resource_names[VK_RESOURCES] = { "instance", "device",
                                                          "memory",
                                                          "mapping" };

static const char *
get (const char *name)
{
  return settings_get (PREFIX, name);
}

static bool
get_bool (const char *name)
{
  const char *s = get (name);

  return s && settings_number (name, s) != 0;
}

static void
load_fault (const char *item)
{
  char buf[128], *code, *from;
  int fn;

  snprintf (buf, sizeof buf, "%s", item);
  code = strchr (buf, ':');
  from = code ? strchr (code + 1, ':') : NULL;
  if (code)
    *code++ = 0;
  if (from)
    *from++ = 0;
  for (fn = 0; fn < FN_VK_COUNT; fn++)
    if (strcmp (buf, names[fn]) == 0)
      break;
  if (fn == FN_VK_COUNT || nr_faults == MAX_FAULTS)
    settings_fatal ("FAIL: no such function, or too many: '%s'", item);
  faults[nr_faults].fn = (enum vk_function) fn;
  faults[nr_faults].code = VK_ERROR_INITIALIZATION_FAILED;
  if (code) {
    bool negative = *code == '-';
    VkResult n = (VkResult) settings_number ("FAIL", code + negative);

    faults[nr_faults].code = negative ? -n : n;
  }
  faults[nr_faults].from = from ? settings_number ("FAIL", from) : 1;
  nr_faults++;
}

static uint64_t
vram_size (int i)
{
  const char *s = settings_get (CUDA, "MEMORY");
  char buf[64];

  return s ? settings_size ("MEMORY", settings_item (s, i, buf, sizeof buf))
           : 8ULL << 30;
}

static void
add_memory_type (VkPhysicalDeviceMemoryProperties *m, VkFlags flags,
                 uint32_t heap)
{
  m->types[m->type_count].flags = flags;
  m->types[m->type_count++].heap = heap;
}

static void
add_heap (VkPhysicalDeviceMemoryProperties *m, uint64_t size, VkFlags flags)
{
  m->heaps[m->heap_count].size = size;
  m->heaps[m->heap_count++].flags = flags;
}

/* The heaps and types as NVIDIA's driver lists them. */
static void
load_memory (struct gpu *g, uint64_t vram)
{
  VkPhysicalDeviceMemoryProperties *m = &g->memory;
  const char *heap = get ("HEAP");

  add_heap (m, vram, VK_HEAP_DEVICE_LOCAL);
  add_heap (m, 16ULL << 30, 0);
  add_memory_type (m, 0, 1);
  add_memory_type (m, VK_MEMORY_DEVICE_LOCAL, 0);
  add_memory_type (m, VK_MEMORY_HOST_VISIBLE | VK_MEMORY_HOST_COHERENT, 1);
  add_memory_type (m,
                   VK_MEMORY_HOST_VISIBLE | VK_MEMORY_HOST_COHERENT |
                       VK_MEMORY_HOST_CACHED,
                   1);
  if (get_bool ("NO_TYPE"))
    return;
  if (heap)
    add_heap (m, settings_size ("HEAP", heap), VK_HEAP_DEVICE_LOCAL);
  add_memory_type (m,
                   VK_MEMORY_DEVICE_LOCAL | VK_MEMORY_HOST_VISIBLE |
                       VK_MEMORY_HOST_COHERENT,
                   heap ? 2 : 0);
}

static void
load_gpu (int i)
{
  struct gpu *g = &gpus[nr_gpus++];
  const char *s = settings_get (CUDA, "NAMES"), *uuids = get ("UUIDS");
  char buf[64];

  g->properties.api_version = version;
  g->properties.vendor_id = 0x10de;
  g->properties.device_type = VK_DEVICE_TYPE_DISCRETE_GPU;
  if (s)
    snprintf (g->properties.name, sizeof g->properties.name, "%s",
              settings_item (s, i, buf, sizeof buf));
  else
    snprintf (g->properties.name, sizeof g->properties.name, "Stand-in GPU %d",
              i);
  settings_uuid (g->uuid, uuids ? uuids : settings_get (CUDA, "UUIDS"), i);
  load_memory (g, vram_size (i));
}

static void
load_software_renderer (void)
{
  struct gpu *g = &gpus[nr_gpus++];

  g->software = true;
  g->properties.api_version = version;
  g->properties.vendor_id = 0x10005;
  g->properties.device_type = VK_DEVICE_TYPE_CPU;
  snprintf (g->properties.name, sizeof g->properties.name,
            "Stand-in software renderer");
  memset (g->uuid, 0x5f, sizeof g->uuid);
  /* All memory types have all properties, as in such renderers.  This is a
   * trap for code that takes the first device with a suitable type.
   */
  add_heap (&g->memory, 16ULL << 30, VK_HEAP_DEVICE_LOCAL);
  add_memory_type (&g->memory,
                   VK_MEMORY_DEVICE_LOCAL | VK_MEMORY_HOST_VISIBLE |
                       VK_MEMORY_HOST_COHERENT | VK_MEMORY_HOST_CACHED,
                   0);
}

static void
load (void)
{
  static const char known[] = " VERSION NO_ICD DEVICES UUIDS NO_EXTENSION"
                              " NO_TYPE HEAP FAIL FAULT_FILE REPORT ";
  const char *s;
  unsigned int major = 1, minor = 3, i, count = 1;
  char *copy, *item, *save = NULL;

  settings_check (PREFIX, known);
  s = get ("VERSION");
  if (s && sscanf (s, "%u.%u", &major, &minor) != 2)
    settings_fatal ("VERSION: not N.N: '%s'", s);
  version = VK_VERSION (major, minor);
  no_icd = get_bool ("NO_ICD");
  no_extension = get_bool ("NO_EXTENSION");
  s = get ("DEVICES");
  if (!s)
    s = settings_get (CUDA, "DEVICES");
  if (s)
    count = (unsigned int) settings_number ("DEVICES", s);
  if (count > MAX_GPUS - 1)
    settings_fatal ("DEVICES: at most %d", MAX_GPUS - 1);
  load_software_renderer ();
  for (i = 0; i < count; i++)
    load_gpu ((int) i);
  s = get ("FAIL");
  if (s) {
    copy = strdup (s);
    for (item = strtok_r (copy, ",", &save); item;
         item = strtok_r (NULL, ",", &save))
      load_fault (item);
    free (copy);
  }
  vk_fault_file = get ("FAULT_FILE");
  report_file = get ("REPORT");
}

VkResult
vk_enter (enum vk_function fn)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  unsigned int i;
  uint64_t n;

  pthread_once (&once, load);
  n = atomic_fetch_add (&calls[fn], 1) + 1;
  for (i = 0; i < nr_faults; i++)
    if (faults[i].fn == fn && n >= faults[i].from)
      return faults[i].code;
  return VK_SUCCESS;
}

void
vk_count (enum vk_resource res, int n)
{
  atomic_fetch_add (&resources[res], n);
}

__attribute__ ((destructor)) static void
report (void)
{
  const char *p;
  char path[4096];
  FILE *fp;
  int i;

  if (!report_file || report_pid != getpid ())
    return;
  p = strstr (report_file, "%p");
  if (p)
    snprintf (path, sizeof path, "%.*s%d%s", (int) (p - report_file),
              report_file, (int) getpid (), p + 2);
  else
    snprintf (path, sizeof path, "%s", report_file);
  fp = fopen (path, "we");
  if (!fp)
    settings_fatal ("REPORT: %s: %m", path);
  for (i = 0; i < VK_RESOURCES; i++)
    if (resources[i])
      fprintf (fp, "leaked %s %d\n", resource_names[i], resources[i]);
  fclose (fp);
}

/* The rule of functions that fill arrays: *COUNT is the array's size, and
 * becomes the number of elements.  With TO NULL the caller only asks for it.
 */
static VkResult
give (void *to, uint32_t *count, const void *from, uint32_t have, size_t size)
{
  uint32_t n = *count < have ? *count : have;

  if (!to) {
    *count = have;
    return VK_SUCCESS;
  }
  if (n)
    memcpy (to, from, n * size);
  *count = n;
  return n < have ? VK_INCOMPLETE : VK_SUCCESS;
}

EXPORT VkResult
vkEnumerateInstanceVersion (uint32_t *result)
{
  VkResult r = vk_enter (FN_vkEnumerateInstanceVersion);

  if (!r)
    *result = version;
  return r;
}

EXPORT VkResult
vkEnumerateInstanceExtensionProperties (const char *layer, uint32_t *count,
                                        VkExtensionProperties *properties)
{
  VkResult r = vk_enter (FN_vkEnumerateInstanceExtensionProperties);

  if (r)
    return r;
  if (layer)
    return VK_ERROR_LAYER_NOT_PRESENT;
  return give (properties, count, NULL, 0, 0);
}

EXPORT VkResult
vkCreateInstance (const VkInstanceCreateInfo *info, const void *allocator,
                  VkInstance *instance)
{
  VkResult r = vk_enter (FN_vkCreateInstance);
  const VkApplicationInfo *app = info->application;

  (void) allocator;
  if (r)
    return r;
  if (no_icd)
    return VK_ERROR_INCOMPATIBLE_DRIVER;
  if (info->type != VK_TYPE_INSTANCE_CREATE_INFO ||
      (app && app->type != VK_TYPE_APPLICATION_INFO))
    return VK_ERROR_INITIALIZATION_FAILED;
  if (info->layer_count)
    return VK_ERROR_LAYER_NOT_PRESENT;
  if (info->extension_count)
    return VK_ERROR_EXTENSION_NOT_PRESENT;
  /* A loader of version 1.0 refuses a later version. */
  if (app && app->api_version >= VK_VERSION (1, 1) &&
      version < VK_VERSION (1, 1))
    return VK_ERROR_INCOMPATIBLE_DRIVER;
  *instance = calloc (1, sizeof **instance);
  if (!*instance)
    return VK_ERROR_OUT_OF_HOST_MEMORY;
  (*instance)->api_version =
      app && app->api_version ? app->api_version : VK_VERSION (1, 0);
  instance_version = (*instance)->api_version;
  pthread_mutex_lock (&instances_lock);
  (*instance)->next = instances;
  instances = *instance;
  pthread_mutex_unlock (&instances_lock);
  report_pid = getpid ();
  vk_count (VK_INSTANCE, 1);
  return VK_SUCCESS;
}

EXPORT void
vkDestroyInstance (VkInstance instance, const void *allocator)
{
  struct instance **at;

  (void) allocator;
  vk_enter (FN_vkDestroyInstance);
  if (!instance)
    return;
  pthread_mutex_lock (&instances_lock);
  for (at = &instances; *at != instance; at = &(*at)->next)
    ;
  *at = instance->next;
  pthread_mutex_unlock (&instances_lock);
  free (instance);
  vk_count (VK_INSTANCE, -1);
}

EXPORT VkResult
vkEnumeratePhysicalDevices (VkInstance instance, uint32_t *count,
                            VkPhysicalDevice *devices)
{
  VkResult r = vk_enter (FN_vkEnumeratePhysicalDevices);
  VkPhysicalDevice all[MAX_GPUS];
  uint32_t i;

  (void) instance;
  if (r)
    return r;
  for (i = 0; i < nr_gpus; i++)
    all[i] = &gpus[i];
  return give (devices, count, all, nr_gpus, sizeof (VkPhysicalDevice));
}

EXPORT void
vkGetPhysicalDeviceProperties (VkPhysicalDevice gpu,
                               VkPhysicalDeviceProperties *properties)
{
  vk_enter (FN_vkGetPhysicalDeviceProperties);
  *properties = gpu->properties;
}

EXPORT void
vkGetPhysicalDeviceProperties2 (VkPhysicalDevice gpu,
                                VkPhysicalDeviceProperties2 *properties)
{
  struct vk_chain *c;

  vk_enter (FN_vkGetPhysicalDeviceProperties2);
  /* Only instances of version 1.1 and newer have it. */
  if (properties->type != VK_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 ||
      instance_version < VK_VERSION (1, 1))
    return;
  properties->properties = gpu->properties;
  for (c = properties->next; c; c = c->next)
    if (c->type == VK_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES) {
      VkPhysicalDeviceIDProperties *id = (void *) c;

      memcpy (id->device_uuid, gpu->uuid, sizeof id->device_uuid);
      memset (id->driver_uuid, 0xd1, sizeof id->driver_uuid);
      memset (id->device_luid, 0, sizeof id->device_luid);
      id->device_node_mask = 0;
      id->device_luid_valid = 0;
    }
}

EXPORT void
vkGetPhysicalDeviceMemoryProperties (
    VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties *properties)
{
  vk_enter (FN_vkGetPhysicalDeviceMemoryProperties);
  *properties = gpu->memory;
}

EXPORT void
vkGetPhysicalDeviceMemoryProperties2 (
    VkPhysicalDevice gpu, VkPhysicalDeviceMemoryProperties2 *properties)
{
  vk_enter (FN_vkGetPhysicalDeviceMemoryProperties2);
  if (properties->type == VK_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2)
    properties->properties = gpu->memory;
}

EXPORT void
vkGetPhysicalDeviceQueueFamilyProperties (VkPhysicalDevice gpu,
                                          uint32_t *count,
                                          VkQueueFamilyProperties *properties)
{
  static const VkQueueFamilyProperties families[] = {
    { VK_QUEUE_COMPUTE | VK_QUEUE_TRANSFER, 1, 64, { 1, 1, 1 } },
    { VK_QUEUE_TRANSFER, 2, 64, { 1, 1, 1 } },
  };

  (void) gpu;
  vk_enter (FN_vkGetPhysicalDeviceQueueFamilyProperties);
  give (properties, count, families, 2, sizeof families[0]);
}

EXPORT VkResult
vkEnumerateDeviceExtensionProperties (VkPhysicalDevice gpu, const char *layer,
                                      uint32_t *count,
                                      VkExtensionProperties *properties)
{
  VkResult r = vk_enter (FN_vkEnumerateDeviceExtensionProperties);
  static const VkExtensionProperties extensions[] = {
    { "VK_KHR_maintenance1", 2 },
    { EXTENSION, 1 },
  };

  if (r)
    return r;
  if (layer)
    return VK_ERROR_LAYER_NOT_PRESENT;
  return give (properties, count, extensions,
               no_extension || gpu->software ? 1 : 2, sizeof extensions[0]);
}

EXPORT VkResult
vkCreateDevice (VkPhysicalDevice gpu, const VkDeviceCreateInfo *info,
                const void *allocator, VkDevice *device)
{
  VkResult r = vk_enter (FN_vkCreateDevice);
  bool external = false;
  uint32_t i;

  (void) allocator;
  if (r)
    return r;
  /* At least one queue is required. */
  if (info->type != VK_TYPE_DEVICE_CREATE_INFO || info->queue_info_count == 0)
    return VK_ERROR_INITIALIZATION_FAILED;
  for (i = 0; i < info->queue_info_count; i++) {
    const VkDeviceQueueCreateInfo *q = &info->queue_infos[i];

    if (q->type != VK_TYPE_DEVICE_QUEUE_CREATE_INFO || q->family > 1 ||
        q->count == 0 || q->count > q->family + 1 || !q->priorities)
      return VK_ERROR_INITIALIZATION_FAILED;
  }
  for (i = 0; i < info->extension_count; i++) {
    if (strcmp (info->extensions[i], EXTENSION) == 0 && !no_extension &&
        !gpu->software)
      external = true;
    else if (strcmp (info->extensions[i], "VK_KHR_maintenance1") != 0)
      return VK_ERROR_EXTENSION_NOT_PRESENT;
  }
  *device = calloc (1, sizeof **device);
  if (!*device)
    return VK_ERROR_OUT_OF_HOST_MEMORY;
  (*device)->gpu = gpu;
  (*device)->external_memory = external;
  vk_count (VK_DEVICE, 1);
  return VK_SUCCESS;
}

EXPORT void
vkDestroyDevice (VkDevice device, const void *allocator)
{
  (void) allocator;
  vk_enter (FN_vkDestroyDevice);
  if (!device)
    return;
  free (device);
  vk_count (VK_DEVICE, -1);
}

static PFN_vkVoidFunction
find (const char *name)
{
#define X(fn)                                                                 \
  if (strcmp (name, #fn) == 0)                                                \
    return (PFN_vkVoidFunction) fn;
  VK_FUNCTIONS (X)
#undef X
  return NULL;
}

EXPORT PFN_vkVoidFunction
vkGetInstanceProcAddr (VkInstance instance, const char *name)
{
  vk_enter (FN_vkGetInstanceProcAddr);
  /* Without an instance there are only these. */
  if (!instance && strncmp (name, "vkEnumerateInstance", 19) != 0 &&
      strcmp (name, "vkCreateInstance") != 0 &&
      strcmp (name, "vkGetInstanceProcAddr") != 0)
    return NULL;
  return find (name);
}

EXPORT PFN_vkVoidFunction
vkGetDeviceProcAddr (VkDevice device, const char *name)
{
  vk_enter (FN_vkGetDeviceProcAddr);
  if (strcmp (name, "vkGetMemoryFdPropertiesKHR") == 0 &&
      !device->external_memory)
    return NULL;
  return find (name);
}
