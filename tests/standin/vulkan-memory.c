/* nbdkit-vram: the stand-in for Vulkan: imported memory, its mappings and
 * their faults
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "standin-vulkan.h"
#include "thread.h"
#include "vram-file.h"

/* How much untouched memory becomes garbage when it is mapped. */
#define GARBAGE (64ULL << 20)

struct memory {
  struct device *device;
  struct vram_file file;
  uint32_t type;
  void *pointer; /* all of it, while mapped */
  struct memory *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory *memories;
static bool cut_off;      /* mappings have no memory now */
static int empty_fd = -1; /* an empty file: an access raises SIGBUS */
static bool watching;

static struct memory *
from_handle (VkDeviceMemory handle)
{
  return (struct memory *) (uintptr_t) handle;
}

/* Replaces the mapping by the memory, or by the empty file; under the lock.
 * It uses the system call, because with a real driver the kernel does it and a
 * sanitizer does not see it.
 */
static bool
place (struct memory *m)
{
  const int fd = cut_off ? empty_fd : m->file.fd;
  const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED;

#if defined(SYS_mmap) && __SIZEOF_POINTER__ == 8
  return syscall (SYS_mmap, m->pointer, m->file.size, prot, flags, fd, 0L) !=
         -1;
#else
  return mmap (m->pointer, m->file.size, prot, flags, fd, 0) != MAP_FAILED;
#endif
}

static void
cut_or_restore (bool cut)
{
  char active[4096];
  struct memory *m;
  int fd;

  pthread_mutex_lock (&lock);
  cut_off = cut;
  for (m = memories; m; m = m->next)
    if (m->pointer && !place (m))
      settings_fatal ("FAULT_FILE: mmap: %m");
  pthread_mutex_unlock (&lock);
  snprintf (active, sizeof active, "%s.active", vk_fault_file);
  if (!cut) {
    unlink (active);
    return;
  }
  fd = open (active, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd == -1)
    settings_fatal ("FAULT_FILE: %s: %m", active);
  close (fd);
}

static void *
watch (void *arg)
{
  bool now, before = false;

  (void) arg;
  for (;;) {
    now = access (vk_fault_file, F_OK) == 0;
    if (now != before)
      cut_or_restore (now);
    before = now;
    usleep (5000);
  }
  return NULL;
}

/* Under the lock. */
static bool
start_watching (void)
{
  pthread_t thread;

  if (!vk_fault_file || watching)
    return true;
  empty_fd = memfd_create ("nothing", MFD_CLOEXEC);
  if (empty_fd == -1 || thread_start (&thread, watch, NULL) != 0)
    return false;
  pthread_detach (thread);
  watching = true;
  return true;
}

static const VkImportMemoryFdInfoKHR *
find_import (const void *chain)
{
  const struct vk_chain *c;

  for (c = chain; c; c = c->next)
    if (c->type == VK_TYPE_IMPORT_MEMORY_FD_INFO)
      return (const void *) c;
  return NULL;
}

EXPORT VkResult
vkAllocateMemory (VkDevice device, const VkMemoryAllocateInfo *info,
                  const void *allocator, VkDeviceMemory *memory)
{
  VkResult r = vk_enter (FN_vkAllocateMemory);
  const VkPhysicalDeviceMemoryProperties *types = &device->gpu->memory;
  const VkImportMemoryFdInfoKHR *import;
  struct memory *m;

  (void) allocator;
  if (r)
    return r;
  if (info->type != VK_TYPE_MEMORY_ALLOCATE_INFO)
    return VK_ERROR_INITIALIZATION_FAILED;
  import = find_import (info->next);
  if (!import)
    return VK_ERROR_FEATURE_NOT_PRESENT;
  if (!device->external_memory)
    return VK_ERROR_EXTENSION_NOT_PRESENT;
  if (import->handle_type != VK_HANDLE_TYPE_OPAQUE_FD ||
      info->memory_type >= types->type_count ||
      !(types->types[info->memory_type].flags & VK_MEMORY_DEVICE_LOCAL))
    return VK_ERROR_INVALID_EXTERNAL_HANDLE;
  m = calloc (1, sizeof *m);
  if (!m)
    return VK_ERROR_OUT_OF_HOST_MEMORY;
  if (vram_file_open (&m->file, import->fd) == -1)
    goto err;
  if (m->file.size != info->size ||
      memcmp (m->file.header->uuid, device->gpu->uuid, 16) != 0)
    goto err_unmap;
  m->device = device;
  m->type = info->memory_type;
  pthread_mutex_lock (&lock);
  m->next = memories;
  memories = m;
  pthread_mutex_unlock (&lock);
  vk_count (VK_MEMORY, 1);
  /* From here on this memory owns the descriptor. */
  *memory = (uintptr_t) m;
  return VK_SUCCESS;

err_unmap:
  vram_file_release (&m->file);
err:
  free (m);
  return VK_ERROR_INVALID_EXTERNAL_HANDLE;
}

static void
unmap (struct memory *m)
{
  munmap (m->pointer, m->file.size);
  m->pointer = NULL;
  vk_count (VK_MAPPING, -1);
}

EXPORT void
vkFreeMemory (VkDevice device, VkDeviceMemory handle, const void *allocator)
{
  struct memory **p, *m = from_handle (handle);

  (void) device;
  (void) allocator;
  vk_enter (FN_vkFreeMemory);
  if (!m)
    return;
  pthread_mutex_lock (&lock);
  if (m->pointer)
    unmap (m);
  for (p = &memories; *p != m; p = &(*p)->next)
    ;
  *p = m->next;
  pthread_mutex_unlock (&lock);
  vram_file_close (&m->file);
  free (m);
  vk_count (VK_MEMORY, -1);
}

/* Whether the CPU can map SIZE more bytes of the heap of type T; under the
 * lock.
 */
static bool
heap_has_room (const struct device *device, uint32_t t, uint64_t size)
{
  const VkPhysicalDeviceMemoryProperties *p = &device->gpu->memory;
  uint64_t sum = size;
  const struct memory *m;

  for (m = memories; m; m = m->next)
    if (m->device == device && m->pointer && m->type == t)
      sum += m->file.size;
  return sum <= p->heaps[p->types[t].heap].size;
}

EXPORT VkResult
vkMapMemory (VkDevice device, VkDeviceMemory handle, uint64_t offset,
             uint64_t size, VkFlags flags, void **pointer)
{
  VkResult r = vk_enter (FN_vkMapMemory);
  const VkMemoryType *types = device->gpu->memory.types;
  struct memory *m = from_handle (handle);
  void *p;

  if (r)
    return r;
  if (flags || !(types[m->type].flags & VK_MEMORY_HOST_VISIBLE) ||
      offset >= m->file.size ||
      (size != VK_WHOLE_SIZE && (size == 0 || size > m->file.size - offset)))
    return VK_ERROR_MEMORY_MAP_FAILED;
  pthread_mutex_lock (&lock);
  if (m->pointer || !heap_has_room (device, m->type, m->file.size) ||
      !start_watching () || vram_file_settle (&m->file, GARBAGE) == -1)
    goto err;
  p = mmap (NULL, m->file.size, PROT_READ | PROT_WRITE, MAP_SHARED, m->file.fd,
            0);
  if (p == MAP_FAILED)
    goto err;
  m->pointer = p;
  if (cut_off && !place (m)) {
    munmap (p, m->file.size);
    m->pointer = NULL;
    goto err;
  }
  pthread_mutex_unlock (&lock);
  vk_count (VK_MAPPING, 1);
  *pointer = (char *) p + offset;
  return VK_SUCCESS;

err:
  pthread_mutex_unlock (&lock);
  return VK_ERROR_MEMORY_MAP_FAILED;
}

EXPORT void
vkUnmapMemory (VkDevice device, VkDeviceMemory handle)
{
  struct memory *m = from_handle (handle);

  (void) device;
  vk_enter (FN_vkUnmapMemory);
  pthread_mutex_lock (&lock);
  if (m->pointer)
    unmap (m);
  pthread_mutex_unlock (&lock);
}

/* Not exported, because it belongs to an extension: vkGetDeviceProcAddr
 * returns it.
 */
VkResult
vkGetMemoryFdPropertiesKHR (VkDevice device, VkFlags handle_type, int fd,
                            VkMemoryFdPropertiesKHR *properties)
{
  VkResult r = vk_enter (FN_vkGetMemoryFdPropertiesKHR);

  (void) device;
  (void) handle_type;
  (void) fd;
  (void) properties;
  return r ? r : VK_ERROR_INVALID_EXTERNAL_HANDLE;
}
