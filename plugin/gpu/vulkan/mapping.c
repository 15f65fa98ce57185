/* nbdkit-vram: the CPU's own mapping of VRAM, through Vulkan
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "common/log.h"
#include "common/thread.h"
#include "common/units.h"
#include "debug.h"
#include "gpu/vulkan/mapping.h"
#include "gpu/wccopy.h"
#include "watchdog.h"

/* The most GPUs, and extensions of a GPU, that are examined. */
#define GPUS_MAX       16
#define EXTENSIONS_MAX 512
#define QUEUES_MAX     16

/* Memory in VRAM that the CPU can map, and in which CPU and GPU see each
 * other's stores without a call.
 */
#define WANTED                                                                \
  (VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |                                      \
   VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |                                      \
   VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

/* What to do if the CPU sees too little of VRAM. */
#define ADVICE                                                                \
  "Resizable BAR shows it all: enable \"Above 4G Decoding\" and \"Re-Size "   \
  "BAR Support\" in the firmware setup, and nvidia-smi -q -d MEMORY shows a " \
  "BAR1 as large as the VRAM"

/* How much of the VRAM that the CPU can see to leave to games and compositors:
 * an eighth, within these limits, in bytes.  On most laptops the CPU sees all
 * of it, or 256 MiB.
 */
#define LEAVE_MIN (64 * MiB)
#define LEAVE_MAX GiB

#define NO_TYPE UINT32_MAX

struct mapping {
  VkInstance instance;
  VkPhysicalDevice gpu;
  VkDevice device;
  VkPhysicalDeviceMemoryProperties memory;

  uint32_t type;   /* memory type of chunks, NO_TYPE before the first one */
  uint64_t mapped; /* bytes */

  atomic_bool shut; /* set once, never cleared */
  bool handling;    /* holds a reference on the signal handler */
};

/*
 * SIGBUS.  Before a thread touches a mapping, it stores where to go on if the
 * kernel cannot serve the access.
 */

struct guard {
  sigjmp_buf env;
  const char *start, *end; /* the mapping in use */
};

/* initial-exec, because a signal handler must not allocate. */
static _Thread_local struct guard *volatile guard
    __attribute__ ((tls_model ("initial-exec")));

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned handler_users;
static struct sigaction previous;

/* The signal is not about a mapping: do what the earlier handler would do. */
static void
pass_on (int sig, siginfo_t *info, void *context)
{
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction (sig, info, context);
    return;
  }
  if (previous.sa_handler == SIG_IGN && info->si_code <= 0)
    return;
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler (sig);
    return;
  }
  /* A faulting access is repeated on return, and ends the process as usual,
   * with the right place in the core dump.  A signal that was sent by a
   * process is sent again.
   */
  signal (sig, SIG_DFL);
  if (info->si_code <= 0)
    raise (sig);
}

static void
handle_sigbus (int sig, siginfo_t *info, void *context)
{
  struct guard *self = guard;
  const char *address = info->si_addr;
  const ucontext_t *interrupted = context;

  if (self && info->si_code > 0 && address >= self->start &&
      address < self->end) {
    /* The jump does not restore the signal mask, because saving it would cost
     * a system call for each copy.
     */
    pthread_sigmask (SIG_SETMASK, &interrupted->uc_sigmask, NULL);
    siglongjmp (self->env, 1);
  }
  pass_on (sig, info, context);
}

static int
install_handler (void)
{
  struct sigaction action = {
    .sa_sigaction = handle_sigbus,
    .sa_flags = SA_SIGINFO,
  };
  int r = 0;

  sigemptyset (&action.sa_mask);
  pthread_mutex_lock (&handler_lock);
  if (handler_users == 0)
    r = sigaction (SIGBUS, &action, &previous);
  if (r == 0)
    handler_users++;
  pthread_mutex_unlock (&handler_lock);
  return r;
}

static void
remove_handler (void)
{
  struct sigaction now;

  pthread_mutex_lock (&handler_lock);
  /* Not if another handler has replaced ours, because it may call ours. */
  if (--handler_users == 0 && sigaction (SIGBUS, NULL, &now) == 0 &&
      (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle_sigbus)
    sigaction (SIGBUS, &previous, NULL);
  pthread_mutex_unlock (&handler_lock);
}

enum direction { TO_VRAM, FROM_VRAM };

/* Copy between HOST and AT in CHUNK.  Returns 0, or -1 on SIGBUS.  No variable
 * changes after sigsetjmp, so all are valid after the jump.
 */
static int
copy_guarded (const struct chunk_mapping *chunk, char *at, char *host,
              size_t count, enum direction direction)
{
  struct guard self;

  self.start = chunk->address;
  self.end = chunk->address + chunk->size;
  if (sigsetjmp (self.env, 0) != 0) {
    guard = NULL;
    wccopy_drain ();
    return -1;
  }
  guard = &self;
  atomic_signal_fence (memory_order_seq_cst);
  if (direction == TO_VRAM)
    wccopy_to (at, host, count);
  else
    wccopy_from (host, at, count);
  atomic_signal_fence (memory_order_seq_cst);
  guard = NULL;
  return 0;
}

bool
mapping_is_open (const struct mapping *mapping)
{
  return !atomic_load_explicit (&mapping->shut, memory_order_relaxed);
}

static void
shut (struct mapping *mapping)
{
  if (!atomic_exchange (&mapping->shut, true))
    log_error ("the CPU's mapping of VRAM has failed (SIGBUS): copies go by "
               "DMA alone, which is slower, until the server is restarted");
}

static int
copy (struct mapping *mapping, const struct chunk_mapping *chunk,
      uint64_t offset, char *host, size_t count, enum direction direction)
{
  if (!mapping_is_open (mapping))
    return -1;
  if (vram_debug_copies)
    log_debug ("mapping: %s %zu bytes at 0x%" PRIx64,
               direction == TO_VRAM ? "write" : "read", count, offset);
  if (copy_guarded (chunk, chunk->address + offset, host, count, direction) ==
      0)
    return 0;
  shut (mapping);
  return -1;
}

int
mapping_write (struct mapping *mapping, const struct chunk_mapping *chunk,
               uint64_t offset, const void *src, size_t count)
{
  /* Not written to. */
  return copy (mapping, chunk, offset, (char *) src, count, TO_VRAM);
}

int
mapping_read (struct mapping *mapping, const struct chunk_mapping *chunk,
              void *dst, uint64_t offset, size_t count)
{
  return copy (mapping, chunk, offset, dst, count, FROM_VRAM);
}

/*
 * Opening.
 */

/* Store why there is no mapping, and return -1. */
static int no_mapping (char *reason, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

static int
no_mapping (char *reason, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (reason, PROVIDER_REASON, format, args);
  va_end (args);
  return -1;
}

static int
create_instance (struct mapping *mapping, char *reason)
{
  const VkApplicationInfo application = {
    .type = VK_STRUCTURE_TYPE_APPLICATION_INFO,
    .application_name = PACKAGE_NAME,
    .api_version = VK_API_VERSION_1_1,
  };
  const VkInstanceCreateInfo info = {
    .type = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
    .application_info = &application,
  };
  VkResult r;

  thread_relax_timers (true);
  r = libvulkan.create_instance (&info, NULL, &mapping->instance);
  thread_relax_timers (false);
  if (r == VK_SUCCESS)
    return 0;
  mapping->instance = NULL;
  return no_mapping (reason,
                     "cannot initialise Vulkan: %s (%d); install the Vulkan "
                     "part of NVIDIA's driver, and libEGL.so.1, which it "
                     "needs (Debian: nvidia-vulkan-icd and libegl1; elsewhere "
                     "the former comes with the driver's OpenGL libraries)",
                     libvulkan_result_name (r), r);
}

/* Find the GPU with this UUID. */
static int
find_gpu (struct mapping *mapping, const uint8_t uuid[16], char *reason)
{
  VkPhysicalDevice gpus[GPUS_MAX];
  uint32_t count = GPUS_MAX;
  VkResult r;

  r = libvulkan.enumerate_physical_devices (mapping->instance, &count, gpus);
  if (r != VK_SUCCESS && r != VK_INCOMPLETE)
    return no_mapping (reason, "cannot list Vulkan's devices: %s (%d)",
                       libvulkan_result_name (r), r);
  for (uint32_t i = 0; i < count; ++i) {
    VkPhysicalDeviceIDProperties id = {
      .type = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 properties = {
      .type = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
      .next = &id,
    };

    libvulkan.get_properties (gpus[i], &properties);
    if (memcmp (id.device_uuid, uuid, sizeof id.device_uuid) == 0) {
      mapping->gpu = gpus[i];
      return 0;
    }
  }
  return no_mapping (reason,
                     "none of Vulkan's %u devices is this GPU; install the "
                     "Vulkan part of NVIDIA's driver",
                     count);
}

static int
check_extension (struct mapping *mapping, char *reason)
{
  VkExtensionProperties *extensions;
  uint32_t count = EXTENSIONS_MAX;
  VkResult r;
  bool found = false;

  extensions = calloc (EXTENSIONS_MAX, sizeof *extensions);
  if (extensions == NULL)
    return no_mapping (reason, "calloc: out of memory");
  r = libvulkan.enumerate_extensions (mapping->gpu, NULL, &count, extensions);
  if (r == VK_SUCCESS || r == VK_INCOMPLETE)
    for (uint32_t i = 0; i < count; ++i)
      if (strcmp (extensions[i].name, VK_KHR_EXTERNAL_MEMORY_FD) == 0)
        found = true;
  free (extensions);
  return found ? 0
               : no_mapping (reason, "the Vulkan driver does not have %s",
                             VK_KHR_EXTERNAL_MEMORY_FD);
}

/* How many bytes of memory type I may be mapped.  0 if it is not VRAM that the
 * CPU can map.
 */
static uint64_t
capacity (const struct mapping *mapping, uint32_t i)
{
  const VkPhysicalDeviceMemoryProperties *memory = &mapping->memory;
  uint64_t heap = memory->heap[memory->type[i].heap].size, leave = heap / 8;

  if ((memory->type[i].properties & WANTED) != WANTED)
    return 0;
  if (leave < LEAVE_MIN)
    leave = LEAVE_MIN;
  if (leave > LEAVE_MAX)
    leave = LEAVE_MAX;
  return heap > leave ? heap - leave : 0;
}

/* Check that at least half of BYTES can be mapped.  A smaller part is not
 * worth taking from other programs.
 */
static int
check_types (struct mapping *mapping, uint64_t bytes, char *reason)
{
  uint64_t most = 0;

  libvulkan.get_memory_properties (mapping->gpu, &mapping->memory);
  for (uint32_t i = 0; i < mapping->memory.type_count; ++i)
    if (capacity (mapping, i) > most)
      most = capacity (mapping, i);
  if (most > 0 && most >= bytes / 2)
    return 0;
  if (most == 0)
    return no_mapping (reason,
                       "the CPU cannot see the VRAM of this GPU; " ADVICE);
  return no_mapping (reason,
                     "the CPU can map only %s of this GPU's VRAM, but half of "
                     "%s is needed; " ADVICE,
                     SIZE_STR (most), SIZE_STR (bytes));
}

/* The queue family with the fewest abilities.  A device must have a queue, but
 * this one is not used.
 */
static uint32_t
least_queue_family (struct mapping *mapping)
{
  VkQueueFamilyProperties families[QUEUES_MAX];
  uint32_t count = QUEUES_MAX, least = 0;

  libvulkan.get_queue_families (mapping->gpu, &count, families);
  for (uint32_t i = 1; i < count; ++i)
    if (families[i].count > 0 &&
        (families[i].flags & (VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT)) <
            (families[least].flags &
             (VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT)))
      least = i;
  return least;
}

static int
create_device (struct mapping *mapping, char *reason)
{
  static const float priority = 0;
  static const char *const extensions[] = { VK_KHR_EXTERNAL_MEMORY_FD };
  const VkDeviceQueueCreateInfo queue = {
    .type = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
    .family = least_queue_family (mapping),
    .count = 1,
    .priorities = &priority,
  };
  const VkDeviceCreateInfo info = {
    .type = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
    .queue_count = 1,
    .queues = &queue,
    .extension_count = 1,
    .extensions = extensions,
  };
  VkResult r;

  /* Starts threads that poll, one of them 100 times a second. */
  thread_relax_timers (true);
  r = libvulkan.create_device (mapping->gpu, &info, NULL, &mapping->device);
  thread_relax_timers (false);
  if (r == VK_SUCCESS)
    return 0;
  mapping->device = NULL;
  return no_mapping (reason, "cannot open this GPU by Vulkan: %s (%d)",
                     libvulkan_result_name (r), r);
}

/* Import FD as memory of type TYPE.  FD stays the caller's. */
static VkResult
import (struct mapping *mapping, struct chunk_mapping *chunk, int fd,
        uint32_t type)
{
  const VkImportMemoryFdInfoKHR import = {
    .type = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
    .handle_type = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT,
    .fd = fcntl (fd, F_DUPFD_CLOEXEC, 3),
  };
  const VkMemoryAllocateInfo info = {
    .type = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
    .next = &import,
    .size = chunk->size,
    .memory_type = type,
  };
  VkResult r;

  if (import.fd == -1)
    return VK_ERROR_TOO_MANY_OBJECTS;
  r = libvulkan.allocate_memory (mapping->device, &info, NULL, &chunk->memory);
  /* On success Vulkan owns the duplicate. */
  if (r != VK_SUCCESS)
    close (import.fd);
  return r;
}

/* Import and map.  Cleans up after failure. */
static VkResult
import_and_map (struct mapping *mapping, struct chunk_mapping *chunk, int fd,
                uint32_t type)
{
  void *address;
  VkResult r = import (mapping, chunk, fd, type);

  if (r != VK_SUCCESS)
    return r;
  r = libvulkan.map_memory (mapping->device, chunk->memory, 0, VK_WHOLE_SIZE,
                            0, &address);
  if (r != VK_SUCCESS) {
    libvulkan.free_memory (mapping->device, chunk->memory, NULL);
    return r;
  }
  chunk->address = address;
  mapping->type = type;
  mapping->mapped += chunk->size;
  return r;
}

int
mapping_add (struct mapping *mapping, struct chunk_mapping *chunk, int fd,
             uint64_t size, char reason[PROVIDER_REASON])
{
  VkResult r = VK_ERROR_FEATURE_NOT_PRESENT;
  bool full = false;
  char byte;

  watchdog_enter ();
  chunk->size = size;
  /* No rule says which type fits memory of another API: take the first one
   * that works.
   */
  for (uint32_t i = 0; r != VK_SUCCESS && i < mapping->memory.type_count;
       ++i) {
    if ((mapping->type != NO_TYPE && mapping->type != i) ||
        capacity (mapping, i) == 0)
      continue;
    full = mapping->mapped + size > capacity (mapping, i);
    if (!full)
      r = import_and_map (mapping, chunk, fd, i);
  }
  if (r != VK_SUCCESS && full)
    no_mapping (reason,
                "the rest of the VRAM that the CPU can see is left to other "
                "programs; " ADVICE);
  else if (r != VK_SUCCESS)
    no_mapping (reason,
                "cannot map memory of CUDA by Vulkan: %s (%d); " ADVICE,
                libvulkan_result_name (r), r);
  /* The driver sets up page tables at the first access. */
  else if (copy_guarded (chunk, chunk->address, &byte, 1, FROM_VRAM) == 0)
    return 0;
  else {
    mapping_remove (mapping, chunk);
    no_mapping (reason, "the mapping of VRAM cannot be read (SIGBUS)");
  }
  memset (chunk, 0, sizeof *chunk);
  return -1;
}

void
mapping_remove (struct mapping *mapping, struct chunk_mapping *chunk)
{
  if (chunk->address == NULL)
    return;
  watchdog_enter ();
  libvulkan.unmap_memory (mapping->device, chunk->memory);
  libvulkan.free_memory (mapping->device, chunk->memory, NULL);
  mapping->mapped -= chunk->size;
  memset (chunk, 0, sizeof *chunk);
}

/* Open everything up to the memory types. */
static int
begin (struct mapping *mapping, const uint8_t uuid[16], uint64_t bytes,
       char *reason)
{
  uint32_t version;

  if (libvulkan_load () == -1)
    return no_mapping (reason, "%s", libvulkan_load_error ());
  if (libvulkan.enumerate_instance_version (&version) != VK_SUCCESS ||
      version < VK_API_VERSION_1_1)
    return no_mapping (reason, "Vulkan is older than version 1.1");
  if (create_instance (mapping, reason) == -1 ||
      find_gpu (mapping, uuid, reason) == -1 ||
      check_extension (mapping, reason) == -1 ||
      check_types (mapping, bytes, reason) == -1)
    return -1;
  return 0;
}

struct mapping *
mapping_open (const uint8_t uuid[16], uint64_t bytes,
              char reason[PROVIDER_REASON])
{
  struct mapping *mapping = calloc (1, sizeof *mapping);
  const char *instructions;

  if (mapping == NULL) {
    no_mapping (reason, "calloc: out of memory");
    return NULL;
  }
  mapping->type = NO_TYPE;
  if (begin (mapping, uuid, bytes, reason) == -1 ||
      create_device (mapping, reason) == -1)
    goto err;
  if (install_handler () == -1) {
    no_mapping (reason, "SIGBUS cannot be handled");
    goto err;
  }
  mapping->handling = true;
  instructions = wccopy_chosen ();
  log_debug ("mapping: copies by %s", instructions);
  return mapping;

err:
  mapping_close (mapping, false);
  return NULL;
}

bool
mapping_probe (const uint8_t uuid[16], uint64_t bytes,
               char reason[PROVIDER_REASON])
{
  struct mapping *mapping = mapping_open (uuid, bytes, reason);
  bool opened = mapping != NULL;

  mapping_close (mapping, false);
  return opened;
}

void
mapping_close (struct mapping *mapping, bool leave)
{
  if (mapping == NULL)
    return;
  if (mapping->handling)
    remove_handler ();
  if (!leave && mapping->device)
    libvulkan.destroy_device (mapping->device, NULL);
  if (!leave && mapping->instance)
    libvulkan.destroy_instance (mapping->instance, NULL);
  free (mapping);
}
