/* nbdkit-vram: tests of the CPU's mapping: how it is opened and closed
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "gpu/vulkan/libvulkan.h"
#include "nbdkit-stubs.h"
#include "common/units.h"
#include "gpu/vulkan/mapping.h"

/* A Vulkan with one GPU, whose VRAM is in memory files.  An exported chunk is
 * a descriptor of its file.  Truncating a file makes its mapping fault, like a
 * mapping of the driver when VRAM cannot be restored.
 */

#define CHUNK_SIZE  (64 * KiB)
#define CHUNK_COUNT 4
#define LAST_SIZE   (20 * KiB)
#define VRAM_SIZE   ((CHUNK_COUNT - 1) * CHUNK_SIZE + LAST_SIZE)

static const uint8_t uuid[16] = "GPU of the test";

static int files[CHUNK_COUNT];
static struct chunk_mapping chunks[CHUNK_COUNT];

/* What this Vulkan has, and which functions fail. */
static struct {
  bool no_library;
  uint32_t version;
  VkResult instance, enumerate, extensions, device, map;
  unsigned map_number; /* which call of map_memory fails, from 1 */
  uint32_t gpus;
  bool no_extension;
  VkFlags type;
  uint64_t heap;
  uint32_t importable; /* bit set: memory of that type can be imported */
  bool cut_short;      /* files are truncated when they are mapped */
} config;

static struct memory {
  int fd;
  uint64_t size;
  void *address;
} memories[64];
static unsigned memory_count, map_calls;
static int live_memories, live_instances, live_devices;

struct libvulkan libvulkan;

void
libvulkan_prepare (void)
{
}

int
libvulkan_load (void)
{
  return config.no_library ? -1 : 0;
}

const char *
libvulkan_load_error (void)
{
  return "cannot load libvulkan.so.1";
}

const char *
libvulkan_result_name (VkResult result)
{
  return result == VK_ERROR_INVALID_EXTERNAL_HANDLE ? "INVALID_EXTERNAL_HANDLE"
                                                    : "SOME_ERROR";
}

static VkResult
enumerate_instance_version (uint32_t *version)
{
  *version = config.version;
  return VK_SUCCESS;
}

static VkResult
create_instance (const VkInstanceCreateInfo *info, const void *allocator,
                 VkInstance *instance)
{
  CHECK_EQ (info->type, VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO);
  CHECK_EQ (info->application_info->api_version, VK_API_VERSION_1_1);
  CHECK (allocator == NULL);
  if (config.instance != VK_SUCCESS)
    return config.instance;
  live_instances++;
  *instance = (VkInstance) &live_instances;
  return VK_SUCCESS;
}

static void
destroy_instance (VkInstance instance, const void *allocator)
{
  CHECK (instance == (VkInstance) &live_instances && allocator == NULL);
  CHECK_EQ (live_devices, 0);
  live_instances--;
}

static VkResult
enumerate_physical_devices (VkInstance instance, uint32_t *count,
                            VkPhysicalDevice *devices)
{
  CHECK (instance == (VkInstance) &live_instances);
  CHECK (*count >= config.gpus);
  for (uintptr_t i = 0; i < config.gpus; ++i)
    devices[i] = (VkPhysicalDevice) (i + 1);
  *count = config.gpus;
  return config.enumerate;
}

/* The last GPU is the one of the test. */
static void
get_properties (VkPhysicalDevice device,
                VkPhysicalDeviceProperties2 *properties)
{
  VkPhysicalDeviceIDProperties *id = properties->next;

  CHECK_EQ (properties->type, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2);
  CHECK_EQ (id->type, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES);
  memset (id->device_uuid, 0xee, sizeof id->device_uuid);
  if ((uintptr_t) device == config.gpus)
    memcpy (id->device_uuid, uuid, sizeof id->device_uuid);
}

static void
get_memory_properties (VkPhysicalDevice device,
                       VkPhysicalDeviceMemoryProperties *properties)
{
  CHECK_EQ ((uintptr_t) device, config.gpus);
  memset (properties, 0, sizeof *properties);
  properties->heap_count = 2;
  properties->heap[0].size = 8 * GiB;
  properties->heap[1].size = config.heap;
  properties->type_count = 4;
  properties->type[0].properties = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  properties->type[1].properties = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                   VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  properties->type[2].properties = config.type;
  properties->type[2].heap = 1;
  properties->type[3].properties = config.type;
  properties->type[3].heap = 1;
}

static void
get_queue_families (VkPhysicalDevice device, uint32_t *count,
                    VkQueueFamilyProperties *properties)
{
  CHECK_EQ ((uintptr_t) device, config.gpus);
  CHECK (*count >= 3);
  *count = 3;
  properties[0].flags = 7;
  properties[1].flags = 4;
  properties[2].flags = 6;
  for (unsigned i = 0; i < 3; ++i)
    properties[i].count = 1;
}

static VkResult
enumerate_extensions (VkPhysicalDevice device, const char *layer,
                      uint32_t *count, VkExtensionProperties *properties)
{
  CHECK_EQ ((uintptr_t) device, config.gpus);
  CHECK (layer == NULL && *count >= 2);
  *count = config.no_extension ? 1 : 2;
  strcpy (properties[0].name, "VK_KHR_external_memory");
  strcpy (properties[1].name, "VK_KHR_external_memory_fd");
  return config.extensions;
}

static VkResult
create_device (VkPhysicalDevice gpu, const VkDeviceCreateInfo *info,
               const void *allocator, VkDevice *device)
{
  CHECK_EQ ((uintptr_t) gpu, config.gpus);
  CHECK_EQ (info->type, VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO);
  CHECK_EQ (info->queue_count, 1);
  /* The family with the fewest features. */
  CHECK_EQ (info->queues->family, 1);
  CHECK_EQ (info->extension_count, 1);
  CHECK_STR (info->extensions[0], "VK_KHR_external_memory_fd");
  CHECK (allocator == NULL);
  if (config.device != VK_SUCCESS)
    return config.device;
  live_devices++;
  *device = (VkDevice) &live_devices;
  return VK_SUCCESS;
}

static void
destroy_device (VkDevice device, const void *allocator)
{
  CHECK (device == (VkDevice) &live_devices && allocator == NULL);
  CHECK_EQ (live_memories, 0);
  live_devices--;
}

static VkResult
allocate_memory (VkDevice device, const VkMemoryAllocateInfo *info,
                 const void *allocator, VkDeviceMemory *memory)
{
  const VkImportMemoryFdInfoKHR *import = info->next;
  struct memory *m = &memories[memory_count];
  struct stat st;

  CHECK (device == (VkDevice) &live_devices && allocator == NULL);
  CHECK_EQ (info->type, VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO);
  CHECK_EQ (import->type, VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR);
  CHECK_EQ (import->handle_type, VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT);
  CHECK (fstat (import->fd, &st) == 0);
  CHECK_EQ (info->size, st.st_size);
  CHECK (info->memory_type == 2 || info->memory_type == 3);
  if (!(config.importable & (1U << info->memory_type)))
    return VK_ERROR_INVALID_EXTERNAL_HANDLE;
  CHECK (memory_count < 64);
  m->fd = import->fd;
  m->size = info->size;
  m->address = NULL;
  *memory = memory_count++;
  live_memories++;
  return VK_SUCCESS;
}

static VkResult
map_memory (VkDevice device, VkDeviceMemory memory, uint64_t offset,
            uint64_t size, uint32_t flags, void **pointer)
{
  struct memory *m = &memories[memory];

  CHECK (device == (VkDevice) &live_devices && memory < memory_count);
  CHECK (offset == 0 && size == VK_WHOLE_SIZE && flags == 0);
  CHECK (m->address == NULL);
  if (++map_calls == config.map_number)
    return VK_ERROR_MEMORY_MAP_FAILED;
  m->address =
      mmap (NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
  CHECK (m->address != MAP_FAILED);
  if (config.cut_short)
    CHECK (ftruncate (m->fd, 0) == 0);
  *pointer = m->address;
  return VK_SUCCESS;
}

static void
unmap_memory (VkDevice device, VkDeviceMemory memory)
{
  struct memory *m = &memories[memory];

  CHECK (device == (VkDevice) &live_devices && m->address);
  munmap (m->address, m->size);
  m->address = NULL;
}

static void
free_memory (VkDevice device, VkDeviceMemory memory, const void *allocator)
{
  struct memory *m = &memories[memory];

  CHECK (device == (VkDevice) &live_devices && allocator == NULL);
  CHECK (m->address == NULL && m->fd != -1);
  close (m->fd);
  m->fd = -1;
  live_memories--;
}

static uint64_t
size_of (size_t chunk)
{
  return chunk == CHUNK_COUNT - 1 ? LAST_SIZE : CHUNK_SIZE;
}

/* Sets up everything, with VRAM full of DATA. */
static unsigned char data[VRAM_SIZE];

static void
defaults (void)
{
  config.version = VK_API_VERSION_1_1;
  config.gpus = 3;
  config.type = 7;
  config.heap = 8 * GiB;
  config.importable = ~0U;
}

static void
begin (void)
{
  struct rnd rnd;

  memset (&config, 0, sizeof config);
  defaults ();
  memory_count = map_calls = 0;
  stub_messages_clear ();

  rnd_begin (&rnd, 1);
  for (size_t i = 0; i < VRAM_SIZE; ++i)
    data[i] = rnd_next (&rnd) % 255; /* no line of ones */
  for (size_t i = 0; i < CHUNK_COUNT; ++i) {
    files[i] = memfd_create ("vram", MFD_CLOEXEC);
    CHECK (files[i] != -1);
    CHECK (ftruncate (files[i], (off_t) size_of (i)) == 0);
    CHECK_EQ (pwrite (files[i], data + i * CHUNK_SIZE, size_of (i), 0),
              size_of (i));
  }
}

static unsigned
open_descriptors (void)
{
  unsigned n = 0;

  for (int fd = 0; fd < 256; ++fd)
    n += fcntl (fd, F_GETFD) != -1;
  return n;
}

static void
end (void)
{
  CHECK_EQ (live_memories, 0);
  CHECK_EQ (live_devices, 0);
  CHECK_EQ (live_instances, 0);
  for (size_t i = 0; i < CHUNK_COUNT; ++i)
    close (files[i]);
}

static struct mapping *mapping;

static void
open_mapping (void)
{
  char reason[PROVIDER_REASON] = "";

  memset (chunks, 0, sizeof chunks);
  mapping = mapping_open (uuid, VRAM_SIZE, reason);
  CHECK_STR (reason, "");
  CHECK (mapping && mapping_is_open (mapping));
  for (size_t i = 0; i < CHUNK_COUNT; ++i)
    CHECK_EQ (mapping_add (mapping, &chunks[i], files[i], size_of (i), reason),
              0);
  CHECK_STR (reason, "");
}

static void
close_mapping (void)
{
  for (size_t i = 0; i < CHUNK_COUNT; ++i)
    mapping_remove (mapping, &chunks[i]);
  mapping_close (mapping, false);
}

/* Compares the files with DATA. */
static void
check_vram (const unsigned char *expected)
{
  static unsigned char seen[VRAM_SIZE];

  for (size_t i = 0; i < CHUNK_COUNT; ++i)
    CHECK_EQ (pread (files[i], seen + i * CHUNK_SIZE, size_of (i), 0),
              size_of (i));
  CHECK (memcmp (seen, expected, VRAM_SIZE) == 0);
}

/* Copies of any size at any offset have the same result as with an array. */
static void
test_copies (void)
{
  static unsigned char buf[CHUNK_SIZE];
  struct rnd rnd;

  begin ();
  rnd_begin (&rnd, 2);
  open_mapping ();
  for (unsigned i = check_effort (2000); i > 0; --i) {
    size_t c = rnd_below (&rnd, CHUNK_COUNT);
    uint64_t offset = rnd_below (&rnd, size_of (c));
    size_t count = 1 + rnd_below (&rnd, size_of (c) - offset);
    unsigned char *model = data + c * CHUNK_SIZE + offset;

    if (rnd_below (&rnd, 2)) {
      for (size_t j = 0; j < count; ++j)
        buf[j] = (unsigned char) (rnd.state + j);
      memcpy (model, buf, count);
      CHECK_EQ (mapping_write (mapping, &chunks[c], offset, buf, count), 0);
    }
    else {
      CHECK_EQ (mapping_read (mapping, &chunks[c], buf, offset, count), 0);
      CHECK (memcmp (model, buf, count) == 0);
    }
  }
  check_vram (data);
  CHECK_EQ (stub_errors_count (), 0);
  close_mapping ();
  end ();
}

/* Each reason why there is no mapping is reported, and nothing leaks. */
static void
refused (const char *words)
{
  char reason[PROVIDER_REASON] = "";
  unsigned descriptors = open_descriptors ();

  CHECK (mapping_open (uuid, VRAM_SIZE, reason) == NULL);
  CHECK_HOLDS (reason, words);
  CHECK (strchr (reason, '\n') == NULL);
  CHECK_EQ (open_descriptors (), descriptors);
  CHECK_EQ (stub_errors_count (), 0);
  end ();
}

/* The same, for the chunk with this number. */
static void
chunk_refused (size_t number, const char *words)
{
  char reason[PROVIDER_REASON] = "";
  unsigned descriptors = open_descriptors ();

  memset (chunks, 0, sizeof chunks);
  mapping = mapping_open (uuid, VRAM_SIZE, reason);
  CHECK (mapping != NULL);
  for (size_t i = 0; i < CHUNK_COUNT; ++i) {
    int r = mapping_add (mapping, &chunks[i], files[i], size_of (i), reason);

    CHECK_EQ (r, i == number ? -1 : 0);
    if (i != number)
      continue;
    CHECK_HOLDS (reason, words);
    CHECK (chunks[i].address == NULL);
    memset (&config, 0, sizeof config);
    defaults ();
  }
  /* The other chunks have mappings. */
  CHECK (mapping_is_open (mapping));
  close_mapping ();
  CHECK_EQ (open_descriptors (), descriptors);
  CHECK_EQ (stub_errors_count (), 0);
  end ();
}

static void
test_refusals (void)
{
  begin ();
  config.no_library = true;
  refused ("libvulkan.so.1");
  begin ();
  config.version = 1U << 22;
  refused ("older than version 1.1");
  begin ();
  config.instance = VK_ERROR_INCOMPATIBLE_DRIVER;
  refused ("cannot initialise Vulkan: SOME_ERROR (-9)");
  begin ();
  config.enumerate = VK_ERROR_INITIALIZATION_FAILED;
  refused ("cannot list Vulkan's devices");
  begin ();
  config.gpus = 0;
  refused ("none of Vulkan's 0 devices is this GPU");
  begin ();
  config.no_extension = true;
  refused ("does not have VK_KHR_external_memory_fd");
  begin ();
  config.extensions = VK_ERROR_OUT_OF_HOST_MEMORY;
  refused ("does not have VK_KHR_external_memory_fd");
  begin ();
  config.type = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  refused ("cannot see the VRAM of this GPU; Resizable BAR");
  begin ();
  config.heap = 64 * MiB + 100 * KiB;
  refused ("can map only 100 KiB of this GPU's VRAM, but half of 212 KiB is "
           "needed; "
           "Resizable BAR");
  begin ();
  config.device = VK_ERROR_INITIALIZATION_FAILED;
  refused ("cannot open this GPU by Vulkan: SOME_ERROR (-3)");
  begin ();
  config.importable = 0;
  chunk_refused (0, "cannot map memory of CUDA by Vulkan: "
                    "INVALID_EXTERNAL_HANDLE (-1000072003)");
  begin ();
  config.map_number = CHUNK_COUNT;
  chunk_refused (CHUNK_COUNT - 1, "SOME_ERROR (-5)");
}

/* The memory type that can be imported need not be the first one. */
static void
test_second_type (void)
{
  unsigned descriptors;
  unsigned char byte;

  begin ();
  descriptors = open_descriptors ();
  config.importable = 1U << 3;
  open_mapping ();
  CHECK_EQ (mapping_read (mapping, &chunks[3], &byte, LAST_SIZE - 1, 1), 0);
  CHECK_EQ (byte, data[VRAM_SIZE - 1]);
  close_mapping ();
  CHECK_EQ (open_descriptors (), descriptors);
  end ();
}

/* A part of the VRAM that the CPU can map is left to other programs: an
 * eighth, but at least 64 MiB and at most 1 GiB.
 */
static void
test_leaves_room (void)
{
  char reason[PROVIDER_REASON] = "";

  begin ();
  config.heap = 64 * MiB + 2 * CHUNK_SIZE + LAST_SIZE;
  chunk_refused (2, "is left to other programs");

  begin ();
  CHECK (mapping_probe (uuid, 14 * GiB, reason));
  CHECK (!mapping_probe (uuid, 14 * GiB + 2, reason));
  CHECK_HOLDS (reason, "can map only 7 GiB of this GPU's VRAM");
  config.heap = 4 * GiB;
  CHECK (!mapping_probe (uuid, 8 * GiB, reason));
  CHECK_HOLDS (reason, "can map only 3.5 GiB of this GPU's VRAM");
  config.heap = 80 * GiB;
  CHECK (!mapping_probe (uuid, 160 * GiB, reason));
  CHECK_HOLDS (reason, "can map only 79 GiB of this GPU's VRAM");
  CHECK_EQ (memory_count, 0);
  config.no_library = true;
  CHECK (!mapping_probe (uuid, 1, reason));
  end ();
}

/* Makes the mapping of chunk I fault. */
static void
break_chunk (size_t i)
{
  CHECK (ftruncate (files[i], 0) == 0);
}

static void
test_sigbus (void)
{
  static unsigned char buf[CHUNK_SIZE];

  for (int write = 0; write < 2; ++write) {
    begin ();
    open_mapping ();
    break_chunk (1);
    if (write)
      CHECK_EQ (mapping_write (mapping, &chunks[1], 100, buf, 200), -1);
    else
      CHECK_EQ (mapping_read (mapping, &chunks[1], buf, 100, 200), -1);
    CHECK (!mapping_is_open (mapping));
    CHECK_EQ (stub_errors_count (), 1);
    CHECK_HOLDS (stub_errors (), "SIGBUS");
    /* It is closed for the other chunks, too, and nothing more is logged. */
    CHECK_EQ (mapping_read (mapping, &chunks[0], buf, 0, 100), -1);
    CHECK_EQ (mapping_write (mapping, &chunks[0], 0, buf, 100), -1);
    CHECK_EQ (mapping_read (mapping, &chunks[1], buf, 0, 100), -1);
    CHECK_EQ (stub_errors_count (), 1);
    close_mapping ();
    end ();
  }
}

/* A chunk whose mapping faults at first has no mapping. */
static void
test_sigbus_at_once (void)
{
  begin ();
  config.cut_short = true;
  chunk_refused (0, "cannot be read (SIGBUS)");
}

static atomic_uint hammered;

static void *
hammer (void *arg)
{
  unsigned char buf[600];
  struct rnd rnd;
  int r = 0;

  (void) arg;
  rnd_begin (&rnd, 10 + atomic_fetch_add (&hammered, 1));
  memset (buf, 1, sizeof buf);
  while (r == 0) {
    const struct chunk_mapping *chunk = &chunks[rnd_below (&rnd, CHUNK_COUNT)];
    uint64_t offset = rnd_below (&rnd, LAST_SIZE - sizeof buf);

    r = rnd_below (&rnd, 2)
            ? mapping_write (mapping, chunk, offset, buf, sizeof buf)
            : mapping_read (mapping, chunk, buf, offset, sizeof buf);
  }
  CHECK_EQ (r, -1);
  CHECK (!mapping_is_open (mapping));
  return NULL;
}

/* When the mapping fails, all threads leave it, and it is logged once. */
static void
test_sigbus_threads (void)
{
  for (unsigned i = check_effort (20); i > 0; --i) {
    pthread_t threads[6];

    begin ();
    open_mapping ();
    for (size_t t = 0; t < 6; ++t)
      CHECK (pthread_create (&threads[t], NULL, hammer, NULL) == 0);
    usleep (1000 * (i % 8));
    for (size_t c = 0; c < CHUNK_COUNT; ++c)
      break_chunk (c);
    for (size_t t = 0; t < 6; ++t)
      pthread_join (threads[t], NULL);
    CHECK_EQ (stub_errors_count (), 1);
    close_mapping ();
    end ();
  }
}

/* A fault outside of the mapping goes to the previous signal handler. */

static sigjmp_buf elsewhere;
static volatile sig_atomic_t passed_on;
static const volatile char *volatile passed_address;

static void
count_and_jump (int sig, siginfo_t *info, void *context)
{
  (void) context;
  CHECK_EQ (sig, SIGBUS);
  passed_on++;
  passed_address = info->si_addr;
  siglongjmp (elsewhere, 1);
}

static void
test_foreign_sigbus (void)
{
  struct sigaction old, now,
      action = { .sa_sigaction = count_and_jump, .sa_flags = SA_SIGINFO };
  static unsigned char buf[100];
  int fd = memfd_create ("elsewhere", MFD_CLOEXEC);
  volatile unsigned char *p =
      mmap (NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

  CHECK (p != MAP_FAILED);
  CHECK (sigaction (SIGBUS, &action, &old) == 0);
  begin ();
  open_mapping ();

  /* Outside of a copy. */
  passed_on = 0;
  if (sigsetjmp (elsewhere, 1) == 0)
    p[10] = 1;
  CHECK_EQ (passed_on, 1);
  CHECK (passed_address == (const volatile char *) p + 10);

  /* In a copy, in host memory. */
  if (sigsetjmp (elsewhere, 1) == 0)
    mapping_write (mapping, &chunks[0], 0, (const void *) p, 100);
  CHECK_EQ (passed_on, 2);
  CHECK (mapping_is_open (mapping));

  /* A signal that was sent. */
  if (sigsetjmp (elsewhere, 1) == 0)
    raise (SIGBUS);
  CHECK_EQ (passed_on, 3);

  /* A fault in the mapping does not go there. */
  break_chunk (0);
  CHECK_EQ (mapping_read (mapping, &chunks[0], buf, 0, sizeof buf), -1);
  CHECK_EQ (passed_on, 3);

  close_mapping ();
  CHECK (sigaction (SIGBUS, &old, &now) == 0);
  CHECK (now.sa_sigaction == count_and_jump);
  munmap ((void *) p, 4096);
  close (fd);
  end ();
}

/* The driver of a GPU that is lost is not called. */
static void
test_leave (void)
{
  begin ();
  open_mapping ();
  mapping_close (mapping, true);
  CHECK_EQ (live_memories, CHUNK_COUNT);
  CHECK_EQ (live_devices, 1);
  CHECK_EQ (live_instances, 1);
  for (VkDeviceMemory i = 0; i < CHUNK_COUNT; ++i) {
    unmap_memory ((VkDevice) &live_devices, i);
    free_memory ((VkDevice) &live_devices, i, NULL);
  }
  live_devices = live_instances = 0;
  end ();
}

int
main (int argc, char *argv[])
{
#define STUB(field, symbol, type, args) libvulkan.field = field;
#include "gpu/vulkan/libvulkan-stubs.h"
#undef STUB
  check_begin (argc, argv);
  RUN (test_copies);
  RUN (test_refusals);
  RUN (test_second_type);
  RUN (test_leaves_room);
  RUN (test_sigbus);
  RUN (test_sigbus_at_once);
  RUN (test_sigbus_threads);
  RUN (test_foreign_sigbus);
  RUN (test_leave);
  return check_end ();
}
