/* nbdkit-vram: a driver API inside the test, which does what it is told and no more
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "fake-cuda.h"

struct fake fake;
unsigned char fake_vram[FAKE_VRAM];

/* Handles of chunks, and where they are mapped. */
#define HANDLES 300
static struct {
  bool used;
  uint64_t size, mapped_at;
} handle[HANDLES];
/* Addresses are reserved one behind the other, and begin anew when none is. */
static uint64_t reserved_end;

/* Guards all of the above and what streams have to do. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum kind { TO_DEVICE, TO_HOST, SET, EVENT };
struct work {
  enum kind kind;
  uint64_t dev;
  void *host;
  const void *from;
  size_t size;
  unsigned char value;
};

#define QUEUE 64
struct CUstream_st {
  struct work work[QUEUE];
  uint64_t issued, done;
  pthread_t owner; /* whose work it has */
};
struct CUevent_st {
  CUstream stream;
  uint64_t after; /* done when the stream has done so much */
};

#define STREAMS 80
static struct CUstream_st *streams[STREAMS];

/* What is left of a context that was lost goes with the next fake_begin, as it
 * goes with the process in real life.
 */
#define EVENTS (2 * STREAMS)
static struct CUevent_st *events[EVENTS];
static void *pinned;
static int context_object;

static CUresult
called (enum fake_function fn)
{
  int lost = atomic_load (&fake.lost);

  atomic_fetch_add (&fake.calls[fn], 1);
  atomic_fetch_add (&fake.inside, 1);
  while (atomic_load (&fake.stuck[fn]))
    clock_sleep_us (1000);
  atomic_fetch_sub (&fake.inside, 1);
  if (atomic_load (&fake.fail[fn].nth) > 0 &&
      atomic_fetch_sub (&fake.fail[fn].nth, 1) == 1)
    return fake.fail[fn].code;
  return lost;
}

/* Return from the function when its call fails. */
#define CALLED(field)                                                         \
  do {                                                                        \
    CUresult called_r = called (FN_##field);                                  \
    if (called_r != CUDA_SUCCESS)                                             \
      return called_r;                                                        \
  } while (0)

void
fake_fail (enum fake_function function, int nth, int code)
{
  fake.fail[function].code = code;
  atomic_store (&fake.fail[function].nth, nth);
}

unsigned
fake_calls (void)
{
  unsigned n = 0;

  for (int i = 0; i < FN_COUNT; ++i)
    n += atomic_load (&fake.calls[i]);
  return n;
}

/* ---- Devices and contexts ---- */

static CUresult
f_error_text (CUresult error, const char **text)
{
  static _Thread_local char words[32];

  snprintf (words, sizeof words, "error %d", error);
  *text = words;
  return CUDA_SUCCESS;
}

static CUresult
f_device_get_count (int *count)
{
  CALLED (device_get_count);
  *count = fake.gpus;
  return CUDA_SUCCESS;
}

static CUresult
f_device_get (CUdevice *device, int ordinal)
{
  CALLED (device_get);
  *device = ordinal;
  return CUDA_SUCCESS;
}

static CUresult
f_device_get_name (char *name, int len, CUdevice device)
{
  CALLED (device_get_name);
  snprintf (name, (size_t) len, "%s", fake.gpu[device].name);
  return CUDA_SUCCESS;
}

static CUresult
f_device_get_uuid (CUuuid *uuid, CUdevice device)
{
  CALLED (device_get_uuid);
  memcpy (uuid, fake.gpu[device].uuid, sizeof *uuid);
  return CUDA_SUCCESS;
}

static CUresult
f_device_total_mem (size_t *bytes, CUdevice device)
{
  CALLED (device_total_mem);
  *bytes = fake.gpu[device].total;
  return CUDA_SUCCESS;
}

static CUresult
f_device_get_attribute (int *value, CUdevice_attribute attribute,
                        CUdevice device)
{
  CALLED (device_get_attribute);
  switch (attribute) {
  case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
    *value = fake.gpu[device].domain;
    break;
  case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    *value = fake.gpu[device].bus;
    break;
  case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
    *value = fake.gpu[device].device;
    break;
  default:
    *value = !fake.no_vmm;
  }
  return CUDA_SUCCESS;
}

/* The context that is current, as an index of a GPU. */
static _Thread_local CUdevice current;

static CUresult
f_primary_ctx_retain (CUcontext *context, CUdevice device)
{
  CALLED (primary_ctx_retain);
  atomic_fetch_add (&fake.contexts, 1);
  *context = (CUcontext) ((char *) &context_object + device);
  return CUDA_SUCCESS;
}

static CUresult
f_primary_ctx_release (CUdevice device)
{
  CALLED (primary_ctx_release);
  (void) device;
  atomic_fetch_sub (&fake.contexts, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_ctx_set_current (CUcontext context)
{
  CALLED (ctx_set_current);
  current = (CUdevice) ((char *) context - (char *) &context_object);
  return CUDA_SUCCESS;
}

/* ---- VRAM ---- */

static uint64_t
bytes_free (void)
{
  const struct fake_gpu *gpu = &fake.gpu[current];

  return gpu->total - gpu->used_by_others - fake.vram_used;
}

static CUresult
f_mem_get_info (size_t *free_bytes, size_t *total)
{
  CALLED (mem_get_info);
  *free_bytes = bytes_free ();
  *total = fake.gpu[current].total;
  return CUDA_SUCCESS;
}

/* What cuMemAlloc has allocated: the size of what lies at each of these places. */
#define PLAIN 8
static uint64_t plain_size[PLAIN];

static CUresult
f_mem_alloc (CUdeviceptr *pointer, size_t bytes)
{
  uint64_t i = 0;

  CALLED (mem_alloc);
  CHECK (bytes > 0);
  if (bytes > bytes_free ())
    return CUDA_ERROR_OUT_OF_MEMORY;
  while (plain_size[i])
    CHECK (++i < PLAIN);
  fake.vram_used += bytes;
  plain_size[i] = bytes;
  atomic_fetch_add (&fake.allocations, 1);
  *pointer = FAKE_BASE + (i << 32);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_free (CUdeviceptr pointer)
{
  uint64_t i = (pointer - FAKE_BASE) >> 32;

  CALLED (mem_free);
  CHECK (i < PLAIN && plain_size[i] && pointer == FAKE_BASE + (i << 32));
  fake.vram_used -= plain_size[i];
  plain_size[i] = 0;
  atomic_fetch_sub (&fake.allocations, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_get_allocation_granularity (size_t *granularity,
                                  const CUmemAllocationProp *prop,
                                  CUmemAllocationGranularity_flags option)
{
  CALLED (mem_get_allocation_granularity);
  (void) option;
  CHECK_EQ (prop->location.id, current);
  *granularity = fake.granularity;
  return CUDA_SUCCESS;
}

static CUresult
f_mem_create (CUmemGenericAllocationHandle *h, size_t bytes,
              const CUmemAllocationProp *prop, unsigned long long flags)
{
  unsigned i = 0;

  CALLED (mem_create);
  CHECK_EQ (flags, 0);
  CHECK_EQ (prop->requested_handle_types,
            CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  CHECK (bytes > 0 && bytes % fake.granularity == 0);
  if (bytes > bytes_free ())
    return CUDA_ERROR_OUT_OF_MEMORY;
  while (handle[i].used)
    CHECK (++i < HANDLES);
  handle[i].used = true;
  handle[i].size = bytes;
  handle[i].mapped_at = 0;
  fake.vram_used += bytes;
  atomic_fetch_add (&fake.handles, 1);
  *h = 1000 + i;
  return CUDA_SUCCESS;
}

static CUresult
f_mem_release (CUmemGenericAllocationHandle h)
{
  CALLED (mem_release);
  CHECK (h >= 1000 && h < 1000 + HANDLES && handle[h - 1000].used);
  CHECK_EQ (handle[h - 1000].mapped_at, 0);
  handle[h - 1000].used = false;
  fake.vram_used -= handle[h - 1000].size;
  atomic_fetch_sub (&fake.handles, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_address_reserve (CUdeviceptr *pointer, size_t bytes, size_t alignment,
                       CUdeviceptr address, unsigned long long flags)
{
  CALLED (mem_address_reserve);
  (void) alignment;
  CHECK (address == 0 && flags == 0 && bytes > 0);
  CHECK_EQ (bytes % fake.granularity, 0);
  if (atomic_fetch_add (&fake.reservations, 1) == 0)
    reserved_end = FAKE_BASE;
  *pointer = reserved_end;
  reserved_end += bytes;
  return CUDA_SUCCESS;
}

static CUresult
f_mem_address_free (CUdeviceptr pointer, size_t bytes)
{
  CALLED (mem_address_free);
  CHECK (pointer >= FAKE_BASE && pointer + bytes <= reserved_end);
  for (unsigned i = 0; i < HANDLES; ++i)
    CHECK (!handle[i].used || handle[i].mapped_at != pointer);
  atomic_fetch_sub (&fake.reservations, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_map (CUdeviceptr pointer, size_t bytes, size_t offset,
           CUmemGenericAllocationHandle h, unsigned long long flags)
{
  CALLED (mem_map);
  CHECK (offset == 0 && flags == 0);
  CHECK (h >= 1000 && h < 1000 + HANDLES && handle[h - 1000].used);
  CHECK_EQ (bytes, handle[h - 1000].size);
  CHECK (pointer >= FAKE_BASE && pointer + bytes <= reserved_end);
  for (unsigned i = 0; i < HANDLES; ++i)
    if (handle[i].used && handle[i].mapped_at)
      CHECK (pointer >= handle[i].mapped_at + handle[i].size ||
             pointer + bytes <= handle[i].mapped_at);
  handle[h - 1000].mapped_at = pointer;
  atomic_fetch_add (&fake.mappings, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_unmap (CUdeviceptr pointer, size_t bytes)
{
  unsigned i = 0;

  CALLED (mem_unmap);
  while (!handle[i].used || handle[i].mapped_at != pointer)
    CHECK (++i < HANDLES);
  CHECK_EQ (bytes, handle[i].size);
  handle[i].mapped_at = 0;
  atomic_fetch_sub (&fake.mappings, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_set_access (CUdeviceptr pointer, size_t bytes,
                  const CUmemAccessDesc *desc, size_t count)
{
  CALLED (mem_set_access);
  (void) pointer;
  (void) bytes;
  CHECK_EQ (count, 1);
  CHECK_EQ (desc->flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_export (void *shareable, CUmemGenericAllocationHandle h,
              CUmemAllocationHandleType type, unsigned long long flags)
{
  CALLED (mem_export);
  CHECK (handle[h - 1000].used && flags == 0);
  CHECK_EQ (type, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  /* Without close-on-exec, as the driver gives it. */
  *(int *) shareable = open ("/dev/null", O_RDONLY);
  return CUDA_SUCCESS;
}

static CUresult
f_mem_import (CUmemGenericAllocationHandle *h, void *shareable,
              CUmemAllocationHandleType type)
{
  const CUmemAllocationProp prop = {
    .requested_handle_types = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
  };

  CALLED (mem_import);
  CHECK (fcntl ((int) (intptr_t) shareable, F_GETFD) != -1);
  CHECK_EQ (type, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  return f_mem_create (h, fake.granularity, &prop, 0);
}

/* ---- Host memory, streams, events ---- */

static CUresult
f_mem_host_alloc (void **pointer, size_t bytes, unsigned int flags)
{
  CALLED (mem_host_alloc);
  (void) flags;
  CHECK_EQ (atomic_fetch_add (&fake.pinned, 1), 0);
  pinned = malloc (bytes);
  CHECK (pinned != NULL);
  *pointer = pinned;
  return CUDA_SUCCESS;
}

static CUresult
f_mem_free_host (void *pointer)
{
  CALLED (mem_free_host);
  CHECK (pointer == pinned);
  free (pinned);
  pinned = NULL;
  atomic_fetch_sub (&fake.pinned, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_stream_create (CUstream *stream, unsigned int flags)
{
  unsigned i = 0;

  CALLED (stream_create);
  CHECK_EQ (flags, CU_STREAM_NON_BLOCKING);
  *stream = calloc (1, sizeof **stream);
  CHECK (*stream != NULL);
  while (streams[i])
    CHECK (++i < STREAMS);
  streams[i] = *stream;
  atomic_fetch_add (&fake.streams, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_stream_destroy (CUstream stream)
{
  unsigned i = 0;

  CALLED (stream_destroy);
  CHECK_EQ (stream->issued, stream->done);
  while (streams[i] != stream)
    CHECK (++i < STREAMS);
  streams[i] = NULL;
  free (stream);
  atomic_fetch_sub (&fake.streams, 1);
  return CUDA_SUCCESS;
}

static void
execute (const struct work *work)
{
  unsigned char *dev = fake_vram + (work->dev - FAKE_BASE);

  switch (work->kind) {
  case TO_DEVICE:
    memcpy (dev, work->from, work->size);
    break;
  case TO_HOST:
    memcpy (work->host, dev, work->size);
    break;
  case SET:
    memset (dev, work->value, work->size);
    break;
  case EVENT:
    break;
  }
}

/* Do one piece of work, with the events behind it. */
static void
advance (CUstream stream)
{
  bool worked = false;

  if (atomic_load (&fake.hung) || atomic_load (&fake.lost))
    return;
  while (stream->done < stream->issued) {
    const struct work *work = &stream->work[stream->done % QUEUE];

    if (work->kind != EVENT && worked)
      break;
    worked = worked || work->kind != EVENT;
    if (work->kind != EVENT && fake.slow_us)
      clock_sleep_us (fake.slow_us);
    execute (work);
    stream->done++;
  }
}

static unsigned
busy_streams (void)
{
  unsigned busy = 0;

  for (unsigned i = 0; i < STREAMS; ++i)
    busy += streams[i] && streams[i]->done < streams[i]->issued;
  return busy;
}

unsigned
fake_pending (void)
{
  unsigned n = 0;

  pthread_mutex_lock (&lock);
  for (unsigned i = 0; i < STREAMS; ++i)
    if (streams[i])
      n += (unsigned) (streams[i]->issued - streams[i]->done);
  pthread_mutex_unlock (&lock);
  return n;
}

static CUresult
issue (CUstream stream, const struct work *work)
{
  unsigned busy;

  if (work->kind != EVENT)
    CHECK (work->dev >= FAKE_BASE && work->size <= FAKE_VRAM &&
           work->dev - FAKE_BASE <= FAKE_VRAM - work->size);
  pthread_mutex_lock (&lock);
  if (work->kind == TO_DEVICE) {
    unsigned n = atomic_fetch_add (&fake.writes, 1);

    if (n < sizeof fake.written / sizeof fake.written[0])
      fake.written[n] = work->dev;
  }
  /* Two threads in one lane: one's work among the other's. */
  if (stream->issued > stream->done)
    CHECK (pthread_equal (stream->owner, pthread_self ()));
  stream->owner = pthread_self ();
  CHECK (stream->issued - stream->done < QUEUE);
  stream->work[stream->issued++ % QUEUE] = *work;
  busy = busy_streams ();
  if (busy > atomic_load (&fake.most_busy))
    atomic_store (&fake.most_busy, busy);
  pthread_mutex_unlock (&lock);
  return CUDA_SUCCESS;
}

static CUresult
f_memcpy_htod_async (CUdeviceptr dst, const void *src, size_t bytes,
                     CUstream stream)
{
  CALLED (memcpy_htod_async);
  return issue (
      stream, &(struct work){
                  .kind = TO_DEVICE, .dev = dst, .from = src, .size = bytes });
}

static CUresult
f_memcpy_dtoh_async (void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
  CALLED (memcpy_dtoh_async);
  return issue (stream,
                &(struct work){
                    .kind = TO_HOST, .dev = src, .host = dst, .size = bytes });
}

static CUresult
f_memset_d8_async (CUdeviceptr dst, unsigned char value, size_t bytes,
                   CUstream stream)
{
  CALLED (memset_d8_async);
  return issue (stream,
                &(struct work){
                    .kind = SET, .dev = dst, .size = bytes, .value = value });
}

/* Stop all threads of this process for MS milliseconds. */
static void
stop_process (unsigned ms)
{
  char path[64], line[512];
  pid_t child = fork ();

  CHECK (child != -1);
  if (child > 0) {
    kill (getpid (), SIGSTOP);
    waitpid (child, NULL, 0);
    return;
  }
  snprintf (path, sizeof path, "/proc/%d/stat", (int) getppid ());
  do {
    FILE *fp = fopen (path, "r");

    if (fp == NULL || fgets (line, sizeof line, fp) == NULL)
      _exit (1);
    fclose (fp);
  } while (strstr (line, ") T ") == NULL);
  clock_sleep_us (1000 * ms);
  kill (getppid (), SIGCONT);
  _exit (0);
}

static CUresult
query (CUstream stream, uint64_t after)
{
  bool done;

  pthread_mutex_lock (&lock);
  advance (stream);
  done = stream->done >= after;
  pthread_mutex_unlock (&lock);
  if (!done && atomic_load (&fake.stop.nth) > 0 &&
      atomic_fetch_sub (&fake.stop.nth, 1) == 1) {
    stop_process (fake.stop.ms);
    atomic_store (&fake.hung, false);
  }
  return done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static CUresult
f_stream_query (CUstream stream)
{
  CALLED (stream_query);
  return query (stream, stream->issued);
}

static CUresult
f_event_create (CUevent *event, unsigned int flags)
{
  unsigned i = 0;

  CALLED (event_create);
  CHECK_EQ (flags, CU_EVENT_DISABLE_TIMING);
  *event = calloc (1, sizeof **event);
  CHECK (*event != NULL);
  while (events[i])
    CHECK (++i < EVENTS);
  events[i] = *event;
  atomic_fetch_add (&fake.events, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_event_destroy (CUevent event)
{
  unsigned i = 0;

  CALLED (event_destroy);
  while (events[i] != event)
    CHECK (++i < EVENTS);
  events[i] = NULL;
  free (event);
  atomic_fetch_sub (&fake.events, 1);
  return CUDA_SUCCESS;
}

static CUresult
f_event_record (CUevent event, CUstream stream)
{
  CALLED (event_record);
  issue (stream, &(struct work){ .kind = EVENT });
  event->stream = stream;
  event->after = stream->issued;
  return CUDA_SUCCESS;
}

static CUresult
f_event_query (CUevent event)
{
  CALLED (event_query);
  return event->stream ? query (event->stream, event->after) : CUDA_SUCCESS;
}

/* ---- */

void
fake_begin (void)
{
  for (unsigned i = 0; i < STREAMS; ++i)
    free (streams[i]);
  for (unsigned i = 0; i < EVENTS; ++i)
    free (events[i]);
  free (pinned);
  pinned = NULL;
  memset (streams, 0, sizeof streams);
  memset (events, 0, sizeof events);
  memset (&fake, 0, sizeof fake);
  memset (handle, 0, sizeof handle);
  memset (plain_size, 0, sizeof plain_size);
  fake.gpus = 1;
  fake.granularity = 2 << 20;
  fake.gpu[0] = (struct fake_gpu){ .name = "Fake GPU",
                                   .bus = 1,
                                   .total = UINT64_C (8) << 30 };
  libcuda = (struct libcuda){
    .get_error_name = f_error_text,
    .get_error_string = f_error_text,
    .device_get_count = f_device_get_count,
    .device_get = f_device_get,
    .device_get_name = f_device_get_name,
    .device_get_uuid = f_device_get_uuid,
    .device_total_mem = f_device_total_mem,
    .device_get_attribute = f_device_get_attribute,
    .primary_ctx_retain = f_primary_ctx_retain,
    .primary_ctx_release = f_primary_ctx_release,
    .ctx_set_current = f_ctx_set_current,
    .mem_get_info = f_mem_get_info,
    .mem_alloc = f_mem_alloc,
    .mem_free = f_mem_free,
    .mem_host_alloc = f_mem_host_alloc,
    .mem_free_host = f_mem_free_host,
    .stream_create = f_stream_create,
    .stream_destroy = f_stream_destroy,
    .stream_query = f_stream_query,
    .event_create = f_event_create,
    .event_destroy = f_event_destroy,
    .event_record = f_event_record,
    .event_query = f_event_query,
    .memcpy_htod_async = f_memcpy_htod_async,
    .memcpy_dtoh_async = f_memcpy_dtoh_async,
    .memset_d8_async = f_memset_d8_async,
    .mem_get_allocation_granularity = f_mem_get_allocation_granularity,
    .mem_create = f_mem_create,
    .mem_release = f_mem_release,
    .mem_address_reserve = f_mem_address_reserve,
    .mem_address_free = f_mem_address_free,
    .mem_map = f_mem_map,
    .mem_unmap = f_mem_unmap,
    .mem_set_access = f_mem_set_access,
    .mem_export = f_mem_export,
    .mem_import = f_mem_import,
  };
}

void
fake_check_freed (void)
{
  CHECK_EQ (atomic_load (&fake.contexts), 0);
  CHECK_EQ (atomic_load (&fake.streams), 0);
  CHECK_EQ (atomic_load (&fake.events), 0);
  CHECK_EQ (atomic_load (&fake.pinned), 0);
  CHECK_EQ (atomic_load (&fake.handles), 0);
  CHECK_EQ (atomic_load (&fake.mappings), 0);
  CHECK_EQ (atomic_load (&fake.reservations), 0);
  CHECK_EQ (atomic_load (&fake.allocations), 0);
  CHECK_EQ (fake.vram_used, 0);
}
