/* nbdkit-vram: the CPU's own mapping of VRAM, through Vulkan
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

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
#include "debug.h"
#include "gpu/vulkan/libvulkan.h"
#include "common/units.h"
#include "gpu/wccopy.h"
#include "gpu/vulkan/mapping.h"
#include "watchdog.h"

/* The GPUs that are looked at, and the extensions of one. */
#define GPUS_MAX       16
#define EXTENSIONS_MAX 512
#define QUEUES_MAX     16

/* The CPU's unit of transfer to and from write-combined memory, in bytes. */
#define LINE 64

/* Memory that is in VRAM, that the CPU can map, and whose two sides need no
 * call to see each other's stores.
 */
#define WANTED                                                                \
  (VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |                                      \
   VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |                                      \
   VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

/* What to do where the CPU sees too little of VRAM. */
#define ADVICE                                                                \
  "Resizable BAR shows it all: enable \"Above 4G Decoding\" and \"Re-Size "   \
  "BAR Support\" in the firmware setup, and nvidia-smi -q -d MEMORY shows a " \
  "BAR1 as large as the VRAM"

/* One chunk's mapping. */
struct chunk_mapping {
  VkDeviceMemory memory;
  char *address;
  uint64_t size;
};

struct mapping {
  VkInstance instance;
  VkPhysicalDevice gpu;
  VkDevice device;
  uint32_t memory_type; /* that the chunks are imported as */

  size_t count;
  struct chunk_mapping *mapping;
  uint64_t chunk_size; /* of every mapping but the last */

  atomic_bool shut; /* set once, never cleared */
  bool handling;    /* holds a reference on the signal handler */
};

/*
 * SIGBUS.  A thread that is about to touch a mapping says so, and where to go
 * on when the kernel cannot serve the access.
 */

struct guard {
  sigjmp_buf env;
  const char *start, *end; /* the mapping that is being touched */
};

/* initial-exec: a signal handler must not make the C library allocate it. */
static _Thread_local struct guard *volatile guard
    __attribute__ ((tls_model ("initial-exec")));

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned handler_users;
static struct sigaction previous;

/* The signal is not about a window: do what would have been done without this
 * handler.
 */
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
  /* An access that faults is tried again on return and then has its usual end,
   * with the core dump showing the right place; a signal that was sent is sent
   * again.
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
    /* The jump does not restore the mask of blocked signals: saving it would
     * cost each copy a system call.
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
  /* Not when someone has put another one over it, which may call ours. */
  if (--handler_users == 0 && sigaction (SIGBUS, NULL, &now) == 0 &&
      (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle_sigbus)
    sigaction (SIGBUS, &previous, NULL);
  pthread_mutex_unlock (&handler_lock);
}

enum direction { TO_VRAM, FROM_VRAM };

/* Copy between HOST and AT in MAPPING.  Returns 0, or -1 on SIGBUS.  Nothing in
 * here changes after sigsetjmp, so that all of it is valid after the jump.
 */
static int
copy_guarded (const struct chunk_mapping *mapping, char *at, char *host,
              size_t count, enum direction direction)
{
  struct guard self;

  self.start = mapping->address;
  self.end = mapping->address + mapping->size;
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
mapping_is_open (const struct mapping *window)
{
  return !atomic_load_explicit (&window->shut, memory_order_relaxed);
}

static void
shut (struct mapping *window)
{
  if (!atomic_exchange (&window->shut, true))
    log_error ("the CPU's mapping of VRAM has failed (SIGBUS): the window "
               "is shut until the server is restarted, and copies go by DMA "
               "alone, which is slower");
}

static void
log_copy (const char *what, size_t count, uint64_t offset)
{
  if (vram_debug_copies)
    log_debug ("window: %s %zu bytes at 0x%llx", what, count,
               (unsigned long long) offset);
}

/* Copy, chunk by chunk. */
static int
copy (struct mapping *window, uint64_t offset, char *host, size_t count,
      enum direction direction)
{
  size_t n;

  for (; count > 0; count -= n, offset += n, host += n) {
    const struct chunk_mapping *mapping =
        &window->mapping[offset / window->chunk_size];
    uint64_t into = offset % window->chunk_size;

    n = mapping->size - into < count ? mapping->size - into : count;
    if (copy_guarded (mapping, mapping->address + into, host, n, direction) ==
        -1) {
      shut (window);
      return -1;
    }
  }
  return 0;
}

static bool
all_ones (const char *bytes, size_t count)
{
  for (size_t i = 0; i < count; ++i)
    if (bytes[i] != (char) 0xff)
      return false;
  return true;
}

/* Whether a line that was read from OFFSET on is nothing but ones. */
static bool
has_line_of_ones (const char *bytes, uint64_t offset, size_t count)
{
  size_t n;

  for (; count > 0; count -= n, offset += n, bytes += n) {
    n = LINE - offset % LINE;
    if (n > count)
      n = count;
    /* The first byte settles it for nearly all data. */
    if (*bytes == (char) 0xff && all_ones (bytes, n))
      return true;
  }
  return false;
}

int
mapping_write (struct mapping *window, uint64_t offset, const void *src,
               size_t count)
{
  if (!mapping_is_open (window))
    return -1;
  log_copy ("write", count, offset);
  /* Not written to. */
  return copy (window, offset, (char *) src, count, TO_VRAM);
}

int
mapping_read (struct mapping *window, void *dst, uint64_t offset, size_t count)
{
  if (!mapping_is_open (window))
    return -1;
  log_copy ("read", count, offset);
  if (copy (window, offset, dst, count, FROM_VRAM) == -1)
    return -1;
  return has_line_of_ones (dst, offset, count) ? -1 : 0;
}

/*
 * Opening.
 */

/* Say why there is no window; returns -1. */
static int no_mapping (char *reason, const char *format, ...)
    __attribute__ ((format (printf, 2, 3)));

static int
no_mapping (char *reason, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (reason, MAPPING_REASON, format, args);
  va_end (args);
  return -1;
}

static int
create_instance (struct mapping *window, char *reason)
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
  r = libvulkan.create_instance (&info, NULL, &window->instance);
  thread_relax_timers (false);
  if (r == VK_SUCCESS)
    return 0;
  window->instance = NULL;
  return no_mapping (reason,
                     "Vulkan does not start: %s (%d); is the NVIDIA driver's "
                     "Vulkan part installed, and libEGL.so.1, which it needs? "
                     "(Debian: nvidia-vulkan-icd and libegl1; elsewhere the "
                     "former comes with the driver's OpenGL libraries)",
                     libvulkan_result_name (r), r);
}

/* Find the GPU with this UUID. */
static int
find_gpu (struct mapping *window, const uint8_t uuid[16], char *reason)
{
  VkPhysicalDevice gpus[GPUS_MAX];
  uint32_t count = GPUS_MAX;
  VkResult r;

  r = libvulkan.enumerate_physical_devices (window->instance, &count, gpus);
  if (r != VK_SUCCESS && r != VK_INCOMPLETE)
    return no_mapping (reason, "Vulkan does not list its devices: %s (%d)",
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
      window->gpu = gpus[i];
      return 0;
    }
  }
  return no_mapping (reason,
                     "none of Vulkan's %u devices is this GPU: is the NVIDIA "
                     "driver's Vulkan part installed?",
                     count);
}

static int
check_extension (struct mapping *window, char *reason)
{
  VkExtensionProperties *extensions;
  uint32_t count = EXTENSIONS_MAX;
  VkResult r;
  bool found = false;

  extensions = calloc (EXTENSIONS_MAX, sizeof *extensions);
  if (extensions == NULL)
    return no_mapping (reason, "calloc: out of memory");
  r = libvulkan.enumerate_extensions (window->gpu, NULL, &count, extensions);
  if (r == VK_SUCCESS || r == VK_INCOMPLETE)
    for (uint32_t i = 0; i < count; ++i)
      if (strcmp (extensions[i].name, VK_KHR_EXTERNAL_MEMORY_FD) == 0)
        found = true;
  free (extensions);
  return found ? 0
               : no_mapping (reason, "the Vulkan driver does not have %s",
                             VK_KHR_EXTERNAL_MEMORY_FD);
}

/* Whether memory of type I can be a window of BYTES.  Keeps in *LARGEST the
 * size of the largest heap that is too small.
 */
static bool
type_fits (const VkPhysicalDeviceMemoryProperties *memory, uint32_t i,
           uint64_t bytes, uint64_t *largest)
{
  uint64_t heap = memory->heap[memory->type[i].heap].size;

  if ((memory->type[i].properties & WANTED) != WANTED)
    return false;
  if (heap >= bytes)
    return true;
  if (heap > *largest)
    *largest = heap;
  return false;
}

/* Check that there is a type of memory for a window of BYTES. */
static int
check_types (struct mapping *window, uint64_t bytes, char *reason)
{
  VkPhysicalDeviceMemoryProperties memory;
  uint64_t largest = 0;

  libvulkan.get_memory_properties (window->gpu, &memory);
  for (uint32_t i = 0; i < memory.type_count; ++i)
    if (type_fits (&memory, i, bytes, &largest))
      return 0;
  if (largest == 0)
    return no_mapping (reason,
                       "the CPU cannot see the VRAM of this GPU; " ADVICE);
  return no_mapping (reason,
                     "the CPU can see only %s of this GPU's VRAM, and %s are "
                     "wanted; " ADVICE,
                     SIZE_STR (largest), SIZE_STR (bytes));
}

/* The family of queues that does least: a device must have a queue, and ours is
 * never used.
 */
static uint32_t
least_queue_family (struct mapping *window)
{
  VkQueueFamilyProperties families[QUEUES_MAX];
  uint32_t count = QUEUES_MAX, least = 0;

  libvulkan.get_queue_families (window->gpu, &count, families);
  for (uint32_t i = 1; i < count; ++i)
    if (families[i].count > 0 &&
        (families[i].flags & (VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT)) <
            (families[least].flags &
             (VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT)))
      least = i;
  return least;
}

static int
create_device (struct mapping *window, char *reason)
{
  static const float priority = 0;
  static const char *const extensions[] = { VK_KHR_EXTERNAL_MEMORY_FD };
  const VkDeviceQueueCreateInfo queue = {
    .type = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
    .family = least_queue_family (window),
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
  r = libvulkan.create_device (window->gpu, &info, NULL, &window->device);
  thread_relax_timers (false);
  if (r == VK_SUCCESS)
    return 0;
  window->device = NULL;
  return no_mapping (reason, "Vulkan does not open this GPU: %s (%d)",
                     libvulkan_result_name (r), r);
}

/* Import FD, memory of SIZE bytes, as memory of type TYPE.  On success it is
 * Vulkan's, else it is still the caller's.
 */
static VkResult
import (struct mapping *window, struct chunk_mapping *mapping, int fd,
        uint64_t size, uint32_t type)
{
  const VkImportMemoryFdInfoKHR import = {
    .type = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
    .handle_type = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT,
    .fd = fd,
  };
  const VkMemoryAllocateInfo info = {
    .type = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
    .next = &import,
    .size = size,
    .memory_type = type,
  };

  return libvulkan.allocate_memory (window->device, &info, NULL,
                                    &mapping->memory);
}

/* As that, and map it.  Leaves nothing behind on failure, other than that
 * *TAKEN says whether FD is Vulkan's now.
 */
static VkResult
import_and_map (struct mapping *window, struct chunk_mapping *mapping, int fd,
                uint64_t size, uint32_t type, bool *taken)
{
  void *address;
  VkResult r;

  r = import (window, mapping, fd, size, type);
  *taken = r == VK_SUCCESS;
  if (r != VK_SUCCESS)
    return r;
  r = libvulkan.map_memory (window->device, mapping->memory, 0, VK_WHOLE_SIZE,
                            0, &address);
  if (r != VK_SUCCESS) {
    libvulkan.free_memory (window->device, mapping->memory, NULL);
    return r;
  }
  mapping->address = address;
  mapping->size = size;
  return VK_SUCCESS;
}

static int
export_chunk (const struct chunks *chunks, size_t i, char *reason)
{
  CUresult error;
  int fd;

  watchdog_enter ();
  fd = chunk_export (chunks, i, &error);
  if (fd == -1)
    no_mapping (reason, "VRAM cannot be exported: " CUDA_WORDS,
                CUDA_WORDS_ARGS (error));
  return fd;
}

/* Map the first chunk, as the first type of memory that it can be imported as.
 * No rule says which type that is for memory of another API.
 */
static int
map_first (struct mapping *window, const struct chunks *chunks, char *reason)
{
  VkPhysicalDeviceMemoryProperties memory;
  struct chunk_mapping *mapping = &window->mapping[0];
  uint64_t size = chunks->chunk[0].size, largest = 0;
  VkResult r = VK_ERROR_FEATURE_NOT_PRESENT;
  bool taken;
  int fd;

  libvulkan.get_memory_properties (window->gpu, &memory);
  for (uint32_t i = 0; i < memory.type_count; ++i) {
    if (!type_fits (&memory, i, chunks->size, &largest))
      continue;
    fd = export_chunk (chunks, 0, reason);
    if (fd == -1)
      return -1;
    r = import_and_map (window, mapping, fd, size, i, &taken);
    if (!taken)
      close (fd);
    if (r == VK_SUCCESS) {
      window->memory_type = i;
      window->count = 1;
      return 0;
    }
  }
  return no_mapping (reason,
                     "Vulkan does not map memory of CUDA: %s (%d); " ADVICE,
                     libvulkan_result_name (r), r);
}

static int
map_next (struct mapping *window, const struct chunks *chunks, char *reason)
{
  size_t i = window->count;
  bool taken;
  VkResult r;
  int fd;

  fd = export_chunk (chunks, i, reason);
  if (fd == -1)
    return -1;
  r = import_and_map (window, &window->mapping[i], fd, chunks->chunk[i].size,
                      window->memory_type, &taken);
  if (!taken)
    close (fd);
  if (r != VK_SUCCESS)
    return no_mapping (reason, "Vulkan does not map chunk %zu of %zu: %s (%d)",
                       i, chunks->count, libvulkan_result_name (r), r);
  window->count++;
  return 0;
}

static int
map_all (struct mapping *window, const struct chunks *chunks, char *reason)
{
  window->chunk_size = chunks->chunk_size;
  window->mapping = calloc (chunks->count, sizeof *window->mapping);
  if (window->mapping == NULL)
    return no_mapping (reason, "calloc: out of memory");
  if (map_first (window, chunks, reason) == -1)
    return -1;
  while (window->count < chunks->count)
    if (map_next (window, chunks, reason) == -1)
      return -1;
  return 0;
}

/* Read a byte of each mapping: the driver puts a mapping's page tables in place
 * at the first access.
 */
static int
touch_all (struct mapping *window, char *reason)
{
  char byte;

  for (size_t i = 0; i < window->count; ++i) {
    watchdog_enter ();
    if (copy_guarded (&window->mapping[i], window->mapping[i].address, &byte,
                      1, FROM_VRAM) == -1)
      return no_mapping (reason,
                         "the mapping of VRAM cannot be read (SIGBUS)");
  }
  return 0;
}

/* Everything up to the types of memory. */
static int
begin (struct mapping *window, const uint8_t uuid[16], uint64_t bytes,
       char *reason)
{
  uint32_t version;

  if (libvulkan_load () == -1)
    return no_mapping (reason, "%s", libvulkan_load_error ());
  if (libvulkan.enumerate_instance_version (&version) != VK_SUCCESS ||
      version < VK_API_VERSION_1_1)
    return no_mapping (reason, "Vulkan is older than version 1.1");
  if (create_instance (window, reason) == -1 ||
      find_gpu (window, uuid, reason) == -1 ||
      check_extension (window, reason) == -1 ||
      check_types (window, bytes, reason) == -1)
    return -1;
  return 0;
}

struct mapping *
mapping_open (const struct chunks *chunks, const uint8_t uuid[16],
              char reason[MAPPING_REASON])
{
  const char *copies;
  struct mapping *window;

  window = calloc (1, sizeof *window);
  if (window == NULL) {
    no_mapping (reason, "calloc: out of memory");
    return NULL;
  }
  if (!chunks->mapped) {
    no_mapping (reason, "this driver cannot export VRAM");
    goto err;
  }
  if (begin (window, uuid, chunks->size, reason) == -1 ||
      create_device (window, reason) == -1 ||
      map_all (window, chunks, reason) == -1)
    goto err;
  if (install_handler () == -1) {
    no_mapping (reason, "SIGBUS cannot be handled");
    goto err;
  }
  window->handling = true;
  copies = wccopy_chosen ();
  log_debug ("window: %zu mappings of memory type %u, copies by %s",
             window->count, window->memory_type, copies);
  if (touch_all (window, reason) == -1)
    goto err;
  return window;

err:
  mapping_free (window, false);
  return NULL;
}

bool
mapping_probe (const uint8_t uuid[16], uint64_t bytes,
               char reason[MAPPING_REASON])
{
  struct mapping window = { 0 };
  int r = begin (&window, uuid, bytes, reason);

  if (r == 0)
    r = create_device (&window, reason);
  if (window.device)
    libvulkan.destroy_device (window.device, NULL);
  if (window.instance)
    libvulkan.destroy_instance (window.instance, NULL);
  return r == 0;
}

void
mapping_free (struct mapping *window, bool leave)
{
  if (window == NULL)
    return;
  if (window->handling)
    remove_handler ();
  while (!leave && window->count > 0) {
    struct chunk_mapping *mapping = &window->mapping[--window->count];

    watchdog_enter ();
    libvulkan.unmap_memory (window->device, mapping->memory);
    libvulkan.free_memory (window->device, mapping->memory, NULL);
  }
  if (!leave && window->device)
    libvulkan.destroy_device (window->device, NULL);
  if (!leave && window->instance)
    libvulkan.destroy_instance (window->instance, NULL);
  free (window->mapping);
  free (window);
}
