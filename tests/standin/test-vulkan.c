/* nbdkit-vram: tests of the Vulkan stand-in: imports, refusals and faults
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "vulkan-abi.h"

#define ENTRIES(X)                                                            \
  X (vkEnumerateInstanceVersion)                                              \
  X (vkGetInstanceProcAddr)                                                   \
  X (vkGetDeviceProcAddr)                                                     \
  X (vkCreateInstance)                                                        \
  X (vkDestroyInstance)                                                       \
  X (vkEnumeratePhysicalDevices)                                              \
  X (vkGetPhysicalDeviceProperties2)                                          \
  X (vkGetPhysicalDeviceMemoryProperties)                                     \
  X (vkGetPhysicalDeviceQueueFamilyProperties)                                \
  X (vkEnumerateDeviceExtensionProperties)                                    \
  X (vkCreateDevice)                                                          \
  X (vkDestroyDevice)                                                         \
  X (vkAllocateMemory)                                                        \
  X (vkFreeMemory)                                                            \
  X (vkMapMemory)                                                             \
  X (vkUnmapMemory)

static struct {
#define X(name) __typeof__ (name) *name;
  ENTRIES (X)
#undef X
} vk;

static VkInstance instance;
static VkPhysicalDevice gpu;
static VkDevice device;

static void
vk_env (const char *name, const char *value)
{
  char full[64];

  snprintf (full, sizeof full, "STANDIN_VULKAN_%s", name);
  setenv (full, value, 1);
}

static void
load_vulkan (void)
{
  void *dl = dlopen ("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);

  CHECK (dl);
#define X(name)                                                               \
  *(void **) &vk.name = dlsym (dl, #name);                                    \
  CHECK (vk.name);
  ENTRIES (X)
#undef X
  /* As with a real loader, an extension's function is not a symbol. */
  CHECK (!dlsym (dl, "vkGetMemoryFdPropertiesKHR"));
}

static VkResult
create_instance (void)
{
  const VkApplicationInfo app = { .type = VK_TYPE_APPLICATION_INFO,
                                  .api_version = VK_VERSION (1, 1) };
  const VkInstanceCreateInfo info = { .type = VK_TYPE_INSTANCE_CREATE_INFO,
                                      .application = &app };

  return vk.vkCreateInstance (&info, NULL, &instance);
}

/* Finds the GPU with the CUDA device's UUID; false if there is none. */
static bool
find_gpu (void)
{
  VkPhysicalDevice gpus[8];
  uint32_t i, count = 8;
  CUuuid uuid;

  OK (cu.cuDeviceGetUuid (&uuid, 0));
  OK (vk.vkEnumeratePhysicalDevices (instance, &count, gpus));
  for (i = 0; i < count; i++) {
    VkPhysicalDeviceIDProperties id = {
      .type = VK_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES
    };
    VkPhysicalDeviceProperties2 p = { .type =
                                          VK_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                      .next = &id };

    vk.vkGetPhysicalDeviceProperties2 (gpus[i], &p);
    if (memcmp (id.device_uuid, uuid.bytes, 16) == 0) {
      gpu = gpus[i];
      return true;
    }
  }
  return false;
}

static VkResult
create_device (bool extension)
{
  static const char *const extensions[] = { "VK_KHR_external_memory_fd" };
  const float priority = 1;
  const VkDeviceQueueCreateInfo queue = {
    .type = VK_TYPE_DEVICE_QUEUE_CREATE_INFO,
    .count = 1,
    .priorities = &priority,
  };
  const VkDeviceCreateInfo info = {
    .type = VK_TYPE_DEVICE_CREATE_INFO,
    .queue_info_count = 1,
    .queue_infos = &queue,
    .extension_count = extension,
    .extensions = extensions,
  };

  return vk.vkCreateDevice (gpu, &info, NULL, &device);
}

/* The type of memory that the CPU can map, or -1. */
static int
window_type (void)
{
  const VkFlags want = VK_MEMORY_DEVICE_LOCAL | VK_MEMORY_HOST_VISIBLE |
                       VK_MEMORY_HOST_COHERENT;
  VkPhysicalDeviceMemoryProperties p;
  uint32_t i;

  vk.vkGetPhysicalDeviceMemoryProperties (gpu, &p);
  for (i = 0; i < p.type_count; i++)
    if ((p.types[i].flags & want) == want)
      return (int) i;
  return -1;
}

static void
start_both (void)
{
  start ();
  load_vulkan ();
  OK (create_instance ());
  CHECK (find_gpu ());
  OK (create_device (true));
}

static VkResult
import (int fd, uint64_t size, uint32_t type, VkDeviceMemory *memory)
{
  const VkImportMemoryFdInfoKHR from = { .type = VK_TYPE_IMPORT_MEMORY_FD_INFO,
                                         .handle_type =
                                             VK_HANDLE_TYPE_OPAQUE_FD,
                                         .fd = fd };
  const VkMemoryAllocateInfo info = { .type = VK_TYPE_MEMORY_ALLOCATE_INFO,
                                      .next = &from,
                                      .size = size,
                                      .memory_type = type };

  return vk.vkAllocateMemory (device, &info, NULL, memory);
}

static int export(CUmemGenericAllocationHandle h)
{
  int fd;

  OK (cu.cuMemExportToShareableHandle (
      &fd, h, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  return fd;
}

/* SIZE bytes of VRAM, as CUDA and Vulkan see them. */
static unsigned char *
window (size_t size, CUdeviceptr *p, VkDeviceMemory *memory)
{
  CUmemGenericAllocationHandle h;
  void *w;

  *p = chunk (size, &h);
  OK (import (export(h), size, (uint32_t) window_type (), memory));
  OK (vk.vkMapMemory (device, *memory, 0, VK_WHOLE_SIZE, 0, &w));
  return w;
}

static void
test_vulkan_devices (void)
{
  VkPhysicalDevice gpus[8];
  VkPhysicalDeviceProperties2 p = { .type =
                                        VK_TYPE_PHYSICAL_DEVICE_PROPERTIES_2 };
  VkPhysicalDeviceMemoryProperties m;
  uint32_t count, version;

  env ("DEVICES", "2");
  env ("MEMORY", "1G,512M");
  start_both ();
  OK (vk.vkEnumerateInstanceVersion (&version));
  CHECK (version == VK_VERSION (1, 3));
  OK (vk.vkEnumeratePhysicalDevices (instance, &count, NULL));
  CHECK (count == 3);
  count = 1;
  GIVES (vk.vkEnumeratePhysicalDevices (instance, &count, gpus),
         VK_INCOMPLETE);
  CHECK (count == 1);
  /* The first device is no GPU, although its memory types would do. */
  vk.vkGetPhysicalDeviceProperties2 (gpus[0], &p);
  CHECK (p.properties.device_type == VK_DEVICE_TYPE_CPU);
  CHECK (gpu != gpus[0]);
  vk.vkGetPhysicalDeviceProperties2 (gpu, &p);
  CHECK (strcmp (p.properties.name, "Stand-in GPU 0") == 0);
  CHECK (window_type () != -1);
  vk.vkGetPhysicalDeviceMemoryProperties (gpu, &m);
  CHECK (m.heaps[m.types[window_type ()].heap].size == 1024 * MIB);
  CHECK (vk.vkGetDeviceProcAddr (device, "vkGetMemoryFdPropertiesKHR"));
  CHECK (vk.vkGetDeviceProcAddr (device, "vkMapMemory"));
  CHECK (!vk.vkGetInstanceProcAddr (NULL, "vkCreateDevice"));
  CHECK (vk.vkGetInstanceProcAddr (instance, "vkCreateDevice"));
}

static void
test_vulkan_other_uuid (void)
{
  vk_env ("UUIDS", "01234567-89ab-cdef-0123-456789abcdef");
  start ();
  load_vulkan ();
  OK (create_instance ());
  CHECK (!find_gpu ());
}

static void
test_vulkan_coherent (void)
{
  static unsigned char buf[8192];
  const size_t size = 4 * MIB;
  VkDeviceMemory memory;
  CUdeviceptr p;
  unsigned char *w;
  int fd;

  start_both ();
  w = window (size, &p, &memory);
  /* New memory is garbage through the mapping, too. */
  CHECK (memchr (w, 0, size) == NULL);

  OK (cu.cuMemsetD8_v2 (p, 0, size));
  OK (cu.cuCtxSynchronize ());
  CHECK (all (w, size, 0));
  memset (buf, 0x3c, sizeof buf);
  OK (cu.cuMemcpyHtoD_v2 (p + 5000, buf, sizeof buf));
  OK (cu.cuCtxSynchronize ());
  CHECK (all (w + 5000, sizeof buf, 0x3c) && w[4999] == 0);
  memset (w + 2 * MIB, 0x4d, sizeof buf);
  OK (cu.cuMemcpyDtoH_v2 (buf, p + 2 * MIB, sizeof buf));
  CHECK (all (buf, sizeof buf, 0x4d));

  /* Vulkan owns the descriptor, and closes it with the memory. */
  vk.vkUnmapMemory (device, memory);
  fd = open ("/dev/null", O_RDONLY);
  close (fd);
  vk.vkFreeMemory (device, memory, NULL);
  CHECK (open ("/dev/null", O_RDONLY) < fd);
}

/* A pageable copy that has returned need not be visible yet. */
static void
test_vulkan_early_return (void)
{
  static unsigned char buf[4096];
  VkDeviceMemory memory;
  CUdeviceptr p;
  unsigned char *w;

  start_both ();
  w = window (2 * MIB, &p, &memory);
  OK (cu.cuMemsetD8_v2 (p, 1, 2 * MIB));
  OK (cu.cuCtxSynchronize ());
  write_file (path ("hang"), "");
  memset (buf, 2, sizeof buf);
  OK (cu.cuMemcpyHtoD_v2 (p, buf, sizeof buf));
  CHECK (all (w, sizeof buf, 1));
  CHECK (unlink (path ("hang")) == 0);
  OK (cu.cuCtxSynchronize ());
  CHECK (all (w, sizeof buf, 2));
}

static void
test_vulkan_refuses (void)
{
  CUmemGenericAllocationHandle h;
  VkDeviceMemory memory;
  uint32_t type;
  void *w;
  int fd;

  start_both ();
  chunk (2 * MIB, &h);
  type = (uint32_t) window_type ();
  fd = export(h);
  /* Another size, another type, no such type, no VRAM. */
  GIVES (import (fd, 4 * MIB, type, &memory),
         VK_ERROR_INVALID_EXTERNAL_HANDLE);
  GIVES (import (fd, 2 * MIB, 0, &memory), VK_ERROR_INVALID_EXTERNAL_HANDLE);
  GIVES (import (fd, 2 * MIB, 31, &memory), VK_ERROR_INVALID_EXTERNAL_HANDLE);
  GIVES (import (open ("/dev/null", O_RDWR), 2 * MIB, type, &memory),
         VK_ERROR_INVALID_EXTERNAL_HANDLE);
  /* The caller still owns the descriptor, and it works. */
  CHECK (fcntl (fd, F_GETFD) != -1);
  OK (import (fd, 2 * MIB, type, &memory));
  GIVES (vk.vkMapMemory (device, memory, 0, 4 * MIB, 0, &w),
         VK_ERROR_MEMORY_MAP_FAILED);
  OK (vk.vkMapMemory (device, memory, 4096, MIB, 0, &w));
  GIVES (vk.vkMapMemory (device, memory, 0, VK_WHOLE_SIZE, 0, &w),
         VK_ERROR_MEMORY_MAP_FAILED);
  vk.vkFreeMemory (device, memory, NULL);

  /* Memory that the CPU cannot see cannot be mapped. */
  OK (import (export(h), 2 * MIB, 1, &memory));
  GIVES (vk.vkMapMemory (device, memory, 0, VK_WHOLE_SIZE, 0, &w),
         VK_ERROR_MEMORY_MAP_FAILED);

  /* Without the extension nothing is imported. */
  OK (create_device (false));
  GIVES (import (export(h), 2 * MIB, type, &memory),
         VK_ERROR_EXTENSION_NOT_PRESENT);
}

static void
test_vulkan_other_gpus_memory (void)
{
  CUmemGenericAllocationHandle h;
  CUmemAllocationProp p = prop ();
  VkDeviceMemory memory;

  env ("DEVICES", "2");
  start_both ();
  p.location.id = 1;
  OK (cu.cuMemCreate (&h, 2 * MIB, &p, 0));
  GIVES (import (export(h), 2 * MIB, (uint32_t) window_type (), &memory),
         VK_ERROR_INVALID_EXTERNAL_HANDLE);
}

static void
test_vulkan_no_type (void)
{
  vk_env ("NO_TYPE", "1");
  start_both ();
  CHECK (window_type () == -1);
}

static void
test_vulkan_small_heap (void)
{
  CUmemGenericAllocationHandle h;
  VkPhysicalDeviceMemoryProperties m;
  VkDeviceMemory memory, second;
  CUdeviceptr p;
  uint32_t type;
  void *w;

  vk_env ("HEAP", "6M");
  start_both ();
  type = (uint32_t) window_type ();
  vk.vkGetPhysicalDeviceMemoryProperties (gpu, &m);
  CHECK (m.types[type].heap == 2 && m.heaps[2].size == 6 * MIB);
  window (4 * MIB, &p, &memory);
  chunk (4 * MIB, &h);
  OK (import (export(h), 4 * MIB, type, &second));
  GIVES (vk.vkMapMemory (device, second, 0, VK_WHOLE_SIZE, 0, &w),
         VK_ERROR_MEMORY_MAP_FAILED);
  vk.vkUnmapMemory (device, memory);
  OK (vk.vkMapMemory (device, second, 0, VK_WHOLE_SIZE, 0, &w));
}

static void
test_vulkan_no_icd (void)
{
  vk_env ("NO_ICD", "1");
  load_vulkan ();
  GIVES (create_instance (), VK_ERROR_INCOMPATIBLE_DRIVER);
}

static void
test_vulkan_old_loader (void)
{
  uint32_t version;

  vk_env ("VERSION", "1.0");
  load_vulkan ();
  OK (vk.vkEnumerateInstanceVersion (&version));
  CHECK (version == VK_VERSION (1, 0));
  GIVES (create_instance (), VK_ERROR_INCOMPATIBLE_DRIVER);
}

static void
test_vulkan_no_extension (void)
{
  VkExtensionProperties e[8];
  uint32_t count = 8, i;

  vk_env ("NO_EXTENSION", "1");
  start ();
  load_vulkan ();
  OK (create_instance ());
  CHECK (find_gpu ());
  OK (vk.vkEnumerateDeviceExtensionProperties (gpu, NULL, &count, e));
  for (i = 0; i < count; i++)
    CHECK (strcmp (e[i].name, "VK_KHR_external_memory_fd") != 0);
  GIVES (create_device (true), VK_ERROR_EXTENSION_NOT_PRESENT);
}

static void
test_vulkan_fail (void)
{
  CUmemGenericAllocationHandle h;
  VkDeviceMemory memory;
  uint32_t type;
  int fd;

  vk_env ("FAIL", "vkAllocateMemory:-2:2,vkMapMemory");
  start_both ();
  type = (uint32_t) window_type ();
  chunk (2 * MIB, &h);
  OK (import (export(h), 2 * MIB, type, &memory));
  fd = export(h);
  GIVES (import (fd, 2 * MIB, type, &memory), VK_ERROR_OUT_OF_DEVICE_MEMORY);
  GIVES (import (fd, 2 * MIB, type, &memory), VK_ERROR_OUT_OF_DEVICE_MEMORY);
  CHECK (fcntl (fd, F_GETFD) != -1);
  GIVES (vk.vkMapMemory (device, memory, 0, VK_WHOLE_SIZE, 0, (void **) &fd),
         VK_ERROR_INITIALIZATION_FAILED);
}

static sigjmp_buf on_fault;

static void
catch_fault (int sig)
{
  siglongjmp (on_fault, sig);
}

/* The signal that an access to P raises, or 0. */
static int
touch (const volatile unsigned char *p)
{
  int sig = sigsetjmp (on_fault, 1);

  if (sig == 0)
    (void) *p;
  return sig;
}

/* The time limit of the case ends it. */
static void
wait_for (const char *name, bool there)
{
  while ((access (name, F_OK) == 0) != there)
    usleep (1000);
}

static void
test_vulkan_fault (void)
{
  static unsigned char buf[4096];
  VkDeviceMemory memory, second;
  CUdeviceptr p, q;
  unsigned char *w, *v;

  vk_env ("FAULT_FILE", path ("fault"));
  signal (SIGBUS, catch_fault);
  start_both ();
  w = window (2 * MIB, &p, &memory);
  v = window (2 * MIB, &q, &second);
  memset (w, 0x77, 4096);
  CHECK (touch (w) == 0 && touch (v + MIB) == 0);
  write_file (path ("fault"), "");
  wait_for (path ("fault.active"), true);
  CHECK (touch (w) == SIGBUS && touch (w + 2 * MIB - 1) == SIGBUS);
  CHECK (touch (v + MIB) == SIGBUS);
  /* DMA still works. */
  OK (cu.cuMemcpyDtoH_v2 (buf, p, sizeof buf));
  CHECK (all (buf, sizeof buf, 0x77));
  CHECK (unlink (path ("fault")) == 0);
  wait_for (path ("fault.active"), false);
  CHECK (touch (w) == 0 && all (w, 4096, 0x77));
}

static void
test_vulkan_report (void)
{
  VkDeviceMemory memory, second;
  CUdeviceptr p;
  char buf[256];
  int status;
  pid_t pid;

  vk_env ("REPORT", path ("report"));
  pid = fork ();
  CHECK (pid != -1);
  if (pid == 0) {
    start_both ();
    window (2 * MIB, &p, &memory);
    window (2 * MIB, &p, &second);
    vk.vkFreeMemory (device, second, NULL);
    vk.vkDestroyDevice (device, NULL);
    exit (0);
  }
  CHECK (waitpid (pid, &status, 0) == pid && status == 0);
  read_file (path ("report"), buf, sizeof buf);
  CHECK (strcmp (buf, "leaked instance 1\nleaked memory 1\n"
                      "leaked mapping 1\n") == 0);
}

const struct test vulkan_tests[] = {
  { "vulkan_devices", test_vulkan_devices, NULL },
  { "vulkan_other_uuid", test_vulkan_other_uuid, NULL },
  { "vulkan_coherent", test_vulkan_coherent, NULL },
  { "vulkan_early_return", test_vulkan_early_return, use_hang_file },
  { "vulkan_refuses", test_vulkan_refuses, NULL },
  { "vulkan_other_gpus_memory", test_vulkan_other_gpus_memory, NULL },
  { "vulkan_no_type", test_vulkan_no_type, NULL },
  { "vulkan_small_heap", test_vulkan_small_heap, NULL },
  { "vulkan_no_icd", test_vulkan_no_icd, NULL },
  { "vulkan_old_loader", test_vulkan_old_loader, NULL },
  { "vulkan_no_extension", test_vulkan_no_extension, NULL },
  { "vulkan_fail", test_vulkan_fail, NULL },
  { "vulkan_fault", test_vulkan_fault, NULL },
  { "vulkan_report", test_vulkan_report, NULL },
  { NULL, NULL, NULL },
};
