/* nbdkit-vram: the stand-in driver's device addresses and their mappings
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Device addresses are no valid CPU addresses: they need more than 48 bits,
 * and on CPUs that have more the kernel maps nothing there unasked.  A CPU
 * access faults.  A gap of one granule behind each region keeps overruns from
 * hitting the next one.
 */

#include <stdlib.h>

#include "standin.h"

#define BASE 0x0002000000000000ULL
#define END  0x0003000000000000ULL

struct mapping {
  CUdeviceptr addr;
  uint64_t size;
  struct physical *memory;
  uint64_t offset;
  unsigned char access[MAX_DEVICES];
  struct mapping *next;
};

struct region {
  CUdeviceptr addr;
  uint64_t size;
  bool alloc; /* made by cuMemAlloc: has one mapping and is freed with it */
  int dev;    /* of such */
  struct mapping *mappings;
  struct region *next;
};

struct handle {
  CUmemGenericAllocationHandle id;
  struct physical *memory;
  struct handle *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct region *regions;
static struct handle *handles;
static CUdeviceptr next_addr = BASE;
static CUmemGenericAllocationHandle next_id = 0x57a0;

bool
address_is_device (uint64_t p)
{
  return p >= BASE && p < END;
}

static struct mapping *
find_mapping (CUdeviceptr addr)
{
  struct region *r;
  struct mapping *m;

  for (r = regions; r; r = r->next)
    if (addr >= r->addr && addr - r->addr < r->size)
      for (m = r->mappings; m; m = m->next)
        if (addr >= m->addr && addr - m->addr < m->size)
          return m;
  return NULL;
}

static bool
may_access (const struct mapping *m, int dev, bool write)
{
  return write ? m->access[dev] == CU_MEM_ACCESS_FLAGS_PROT_READWRITE
               : m->access[dev] != CU_MEM_ACCESS_FLAGS_PROT_NONE;
}

bool
address_find (CUdeviceptr addr, int dev, bool write, struct physical **p,
              uint64_t *offset, uint64_t *contiguous)
{
  struct mapping *m;
  bool ok;

  pthread_mutex_lock (&lock);
  m = find_mapping (addr);
  ok = m && may_access (m, dev, write);
  if (ok) {
    physical_ref (m->memory);
    *p = m->memory;
    *offset = addr - m->addr + m->offset;
    *contiguous = m->addr + m->size - addr;
  }
  pthread_mutex_unlock (&lock);
  return ok;
}

bool
address_check (CUdeviceptr addr, uint64_t size, int dev, bool write)
{
  struct mapping *m;
  bool ok = true;

  pthread_mutex_lock (&lock);
  while (ok && size > 0) {
    uint64_t n;

    m = find_mapping (addr);
    ok = m && may_access (m, dev, write);
    if (ok) {
      n = m->addr + m->size - addr;
      addr += n;
      size -= n < size ? n : size;
    }
  }
  pthread_mutex_unlock (&lock);
  return ok;
}

/* Makes a region; under the lock. */
static struct region *
add_region (uint64_t size, uint64_t alignment)
{
  const uint64_t mask =
      (alignment > GRANULARITY ? alignment : GRANULARITY) - 1;
  CUdeviceptr addr = (next_addr + mask) & ~mask;
  struct region *r;

  if (addr < next_addr || addr > END || size > END - addr)
    return NULL;
  r = calloc (1, sizeof *r);
  if (!r)
    return NULL;
  r->addr = addr;
  r->size = size;
  next_addr =
      ((addr + size + GRANULARITY - 1) & ~(GRANULARITY - 1)) + GRANULARITY;
  r->next = regions;
  regions = r;
  return r;
}

static void
remove_region (struct region *r)
{
  struct region **p;

  for (p = &regions; *p != r; p = &(*p)->next)
    ;
  *p = r->next;
  free (r);
}

static struct region *
find_region (CUdeviceptr addr, uint64_t size)
{
  struct region *r;

  for (r = regions; r; r = r->next)
    if (addr >= r->addr && addr - r->addr < r->size &&
        size <= r->size - (addr - r->addr))
      return r;
  return NULL;
}

/* Takes a reference of MEMORY over on success. */
static bool
add_mapping (struct region *r, CUdeviceptr addr, uint64_t size,
             struct physical *memory, uint64_t offset)
{
  struct mapping *m = calloc (1, sizeof *m);

  if (!m)
    return false;
  m->addr = addr;
  m->size = size;
  m->memory = memory;
  m->offset = offset;
  m->next = r->mappings;
  r->mappings = m;
  return true;
}

static void
remove_mappings (struct region *r, CUdeviceptr addr, uint64_t size)
{
  struct mapping **p, *m;

  for (p = &r->mappings; (m = *p) != NULL;) {
    if (m->addr < addr || m->addr - addr >= size) {
      p = &m->next;
      continue;
    }
    *p = m->next;
    if (!r->alloc)
      report_resource (RES_MAPPING, -1, -(int64_t) m->size);
    physical_unref (m->memory);
    free (m);
  }
}

/* Whether mappings fill the range exactly, without a gap or an overhang.  With
 * some_ok the range may also be partly or wholly empty.  Under the lock.
 */
static bool
whole_mappings (const struct region *r, CUdeviceptr addr, uint64_t size)
{
  const struct mapping *m;
  uint64_t sum = 0;

  for (m = r->mappings; m; m = m->next) {
    if (m->addr + m->size <= addr || m->addr >= addr + size)
      continue;
    if (m->addr < addr || m->addr + m->size > addr + size)
      return false;
    sum += m->size;
  }
  return sum == size;
}

static bool
is_free (const struct region *r, CUdeviceptr addr, uint64_t size)
{
  const struct mapping *m;

  for (m = r->mappings; m; m = m->next)
    if (m->addr < addr + size && addr < m->addr + m->size)
      return false;
  return true;
}

static void
free_alloc (struct region *r)
{
  report_resource (RES_ALLOCATION, -1, -(int64_t) r->size);
  remove_mappings (r, r->addr, r->size);
  remove_region (r);
}

void
address_free_all (int dev)
{
  struct region *r, *next;

  pthread_mutex_lock (&lock);
  for (r = regions; r; r = next) {
    next = r->next;
    if (r->alloc && r->dev == dev)
      free_alloc (r);
  }
  pthread_mutex_unlock (&lock);
}

EXPORT CUresult
cuMemGetInfo_v2 (size_t *free_bytes, size_t *total)
{
  struct context *ctx;
  CUresult r = enter (FN_cuMemGetInfo_v2, &ctx);

  if (r)
    return r;
  if (!free_bytes || !total)
    return CUDA_ERROR_INVALID_VALUE;
  *free_bytes = physical_free_bytes (ctx->dev);
  *total = config.memory[ctx->dev];
  physical_shrink (ctx->dev);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuMemAlloc_v2 (CUdeviceptr *ptr, size_t size)
{
  struct context *ctx;
  CUresult r = enter (FN_cuMemAlloc_v2, &ctx);
  struct region *region;
  struct physical *p;
  int i;

  if (r)
    return r;
  if (!ptr || size == 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (size > config.memory[ctx->dev])
    return CUDA_ERROR_OUT_OF_MEMORY;
  r = physical_create (&p, ctx->dev,
                       (size + GRANULARITY - 1) & ~(GRANULARITY - 1), false);
  if (r)
    return r;
  pthread_mutex_lock (&lock);
  region = add_region (size, GRANULARITY);
  if (!region || !add_mapping (region, region->addr, size, p, 0)) {
    if (region)
      remove_region (region);
    physical_unref (p);
    r = CUDA_ERROR_OUT_OF_MEMORY;
    goto out;
  }
  region->alloc = true;
  region->dev = ctx->dev;
  for (i = 0; i < MAX_DEVICES; i++)
    region->mappings->access[i] = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  *ptr = region->addr;
  report_resource (RES_ALLOCATION, 1, (int64_t) size);
out:
  pthread_mutex_unlock (&lock);
  return r;
}

EXPORT CUresult
cuMemFree_v2 (CUdeviceptr ptr)
{
  struct context *ctx;
  CUresult r = enter (FN_cuMemFree_v2, &ctx);
  struct region *region;

  if (r)
    return r;
  r = stream_wait_all (ctx);
  if (r)
    return r;
  pthread_mutex_lock (&lock);
  for (region = regions; region; region = region->next)
    if (region->alloc && region->addr == ptr)
      break;
  if (region)
    free_alloc (region);
  pthread_mutex_unlock (&lock);
  return region ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult
check_prop (const CUmemAllocationProp *prop)
{
  if (!prop || prop->type != CU_MEM_ALLOCATION_TYPE_PINNED ||
      prop->location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
      prop->win32_handle_meta_data != NULL ||
      prop->alloc_flags.compression_type > 1)
    return CUDA_ERROR_INVALID_VALUE;
  if (prop->location.id < 0 || prop->location.id >= config.devices)
    return CUDA_ERROR_INVALID_DEVICE;
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuMemGetAllocationGranularity (size_t *granularity,
                               const CUmemAllocationProp *prop, int option)
{
  CUresult r = enter (FN_cuMemGetAllocationGranularity, NULL);

  if (r)
    return r;
  r = check_prop (prop);
  if (r)
    return r;
  if (!granularity || option < 0 || option > 1)
    return CUDA_ERROR_INVALID_VALUE;
  if (config.no_vmm)
    return CUDA_ERROR_NOT_SUPPORTED;
  *granularity = config.granularity;
  return CUDA_SUCCESS;
}

/* Gives a handle to MEMORY, whose reference it takes over. */
static CUresult
add_handle (CUmemGenericAllocationHandle *id, struct physical *memory)
{
  struct handle *h = calloc (1, sizeof *h);

  if (!h) {
    physical_unref (memory);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  pthread_mutex_lock (&lock);
  h->memory = memory;
  h->id = next_id++;
  h->next = handles;
  handles = h;
  *id = h->id;
  pthread_mutex_unlock (&lock);
  report_resource (RES_HANDLE, 1, (int64_t) physical_size (memory));
  return CUDA_SUCCESS;
}

/* The memory behind a handle, with a reference taken, or NULL. */
static struct physical *
handle_memory (CUmemGenericAllocationHandle id)
{
  struct physical *p = NULL;
  struct handle *h;

  pthread_mutex_lock (&lock);
  for (h = handles; h; h = h->next)
    if (h->id == id) {
      p = h->memory;
      physical_ref (p);
      break;
    }
  pthread_mutex_unlock (&lock);
  return p;
}

EXPORT CUresult
cuMemCreate (CUmemGenericAllocationHandle *handle, size_t size,
             const CUmemAllocationProp *prop, unsigned long long flags)
{
  CUresult r = enter (FN_cuMemCreate, NULL);
  struct physical *p;

  if (r)
    return r;
  if (config.no_vmm)
    return CUDA_ERROR_NOT_SUPPORTED;
  r = check_prop (prop);
  if (r)
    return r;
  if (!handle || size == 0 || size % config.granularity != 0 || flags)
    return CUDA_ERROR_INVALID_VALUE;
  if ((prop->requested_handle_types != CU_MEM_HANDLE_TYPE_NONE &&
       prop->requested_handle_types !=
           CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) ||
      (config.no_export && prop->requested_handle_types))
    return CUDA_ERROR_NOT_SUPPORTED;
  if (size > config.memory[prop->location.id])
    return CUDA_ERROR_OUT_OF_MEMORY;
  r = physical_create (&p, prop->location.id, size,
                       prop->requested_handle_types != 0);
  return r ? r : add_handle (handle, p);
}

EXPORT CUresult
cuMemRelease (CUmemGenericAllocationHandle handle)
{
  CUresult r = enter (FN_cuMemRelease, NULL);
  struct handle **p, *h;

  if (r)
    return r;
  pthread_mutex_lock (&lock);
  for (p = &handles; (h = *p) != NULL; p = &h->next)
    if (h->id == handle) {
      *p = h->next;
      break;
    }
  pthread_mutex_unlock (&lock);
  if (!h)
    return CUDA_ERROR_INVALID_VALUE;
  report_resource (RES_HANDLE, -1, -(int64_t) physical_size (h->memory));
  physical_unref (h->memory);
  free (h);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuMemExportToShareableHandle (void *shareable,
                              CUmemGenericAllocationHandle handle, int type,
                              unsigned long long flags)
{
  CUresult r = enter (FN_cuMemExportToShareableHandle, NULL);
  struct physical *p;
  int fd = -1;

  if (r)
    return r;
  if (!shareable || flags || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
    return CUDA_ERROR_INVALID_VALUE;
  p = handle_memory (handle);
  if (!p)
    return CUDA_ERROR_INVALID_VALUE;
  if (!physical_exportable (p))
    r = CUDA_ERROR_INVALID_VALUE;
  else {
    fd = physical_export (p);
    if (fd == -1)
      r = CUDA_ERROR_OPERATING_SYSTEM;
    else
      *(int *) shareable = fd;
  }
  physical_unref (p);
  return r;
}

EXPORT CUresult
cuMemImportFromShareableHandle (CUmemGenericAllocationHandle *handle,
                                void *os_handle, int type)
{
  CUresult r = enter (FN_cuMemImportFromShareableHandle, NULL);
  struct physical *p;

  if (r)
    return r;
  if (config.no_vmm || config.no_export)
    return CUDA_ERROR_NOT_SUPPORTED;
  if (!handle || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
    return CUDA_ERROR_INVALID_VALUE;
  r = physical_import (&p, (int) (intptr_t) os_handle);
  return r ? r : add_handle (handle, p);
}

EXPORT CUresult
cuMemAddressReserve (CUdeviceptr *ptr, size_t size, size_t alignment,
                     CUdeviceptr addr, unsigned long long flags)
{
  CUresult r = enter (FN_cuMemAddressReserve, NULL);
  struct region *region;

  (void) addr; /* only a wish */
  if (r)
    return r;
  if (config.no_vmm)
    return CUDA_ERROR_NOT_SUPPORTED;
  if (!ptr || size == 0 || size % config.granularity != 0 || flags ||
      (alignment & (alignment - 1)) != 0)
    return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock (&lock);
  region = add_region (size, alignment);
  if (region)
    *ptr = region->addr;
  pthread_mutex_unlock (&lock);
  if (!region)
    return CUDA_ERROR_OUT_OF_MEMORY;
  report_resource (RES_RESERVATION, 1, (int64_t) size);
  return CUDA_SUCCESS;
}

EXPORT CUresult
cuMemAddressFree (CUdeviceptr ptr, size_t size)
{
  CUresult r = enter (FN_cuMemAddressFree, NULL);
  struct region *region;

  if (r)
    return r;
  pthread_mutex_lock (&lock);
  region = find_region (ptr, size);
  if (!region || region->alloc || region->addr != ptr ||
      region->size != size || region->mappings)
    r = CUDA_ERROR_INVALID_VALUE;
  else {
    remove_region (region);
    report_resource (RES_RESERVATION, -1, -(int64_t) size);
  }
  pthread_mutex_unlock (&lock);
  return r;
}

EXPORT CUresult
cuMemMap (CUdeviceptr ptr, size_t size, size_t offset,
          CUmemGenericAllocationHandle handle, unsigned long long flags)
{
  CUresult r = enter (FN_cuMemMap, NULL);
  struct region *region;
  struct physical *p;

  if (r)
    return r;
  /* An offset other than 0 is documented as not allowed as yet. */
  if (flags || offset || size == 0 || size % GRANULARITY != 0 ||
      ptr % GRANULARITY != 0)
    return CUDA_ERROR_INVALID_VALUE;
  p = handle_memory (handle);
  if (!p)
    return CUDA_ERROR_INVALID_VALUE;
  pthread_mutex_lock (&lock);
  region = find_region (ptr, size);
  if (!region || region->alloc || size > physical_size (p) ||
      !is_free (region, ptr, size))
    r = CUDA_ERROR_INVALID_VALUE;
  else if (!add_mapping (region, ptr, size, p, 0))
    r = CUDA_ERROR_OUT_OF_MEMORY;
  pthread_mutex_unlock (&lock);
  if (r)
    physical_unref (p);
  else
    report_resource (RES_MAPPING, 1, (int64_t) size);
  return r;
}

EXPORT CUresult
cuMemUnmap (CUdeviceptr ptr, size_t size)
{
  CUresult r = enter (FN_cuMemUnmap, NULL);
  struct region *region;

  if (r)
    return r;
  pthread_mutex_lock (&lock);
  region = size ? find_region (ptr, size) : NULL;
  if (!region || region->alloc || !whole_mappings (region, ptr, size))
    r = CUDA_ERROR_INVALID_VALUE;
  else
    remove_mappings (region, ptr, size);
  pthread_mutex_unlock (&lock);
  return r;
}

EXPORT CUresult
cuMemSetAccess (CUdeviceptr ptr, size_t size, const CUmemAccessDesc *desc,
                size_t count)
{
  CUresult r = enter (FN_cuMemSetAccess, NULL);
  struct region *region;
  struct mapping *m;
  size_t i;

  if (r)
    return r;
  if (!desc || count == 0 || size == 0)
    return CUDA_ERROR_INVALID_VALUE;
  for (i = 0; i < count; i++) {
    if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
        (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
         desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READ &&
         desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE))
      return CUDA_ERROR_INVALID_VALUE;
    if (desc[i].location.id < 0 || desc[i].location.id >= config.devices)
      return CUDA_ERROR_INVALID_DEVICE;
  }
  pthread_mutex_lock (&lock);
  region = find_region (ptr, size);
  if (!region || region->alloc || !whole_mappings (region, ptr, size)) {
    r = CUDA_ERROR_INVALID_VALUE;
    goto out;
  }
  for (m = region->mappings; m; m = m->next) {
    if (m->addr < ptr || m->addr >= ptr + size)
      continue;
    for (i = 0; i < count; i++) {
      if (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
          desc[i].location.id != physical_device (m->memory)) {
        /* No peer access between stand-in devices. */
        r = CUDA_ERROR_NOT_SUPPORTED;
        goto out;
      }
      m->access[desc[i].location.id] = (unsigned char) desc[i].flags;
    }
  }
out:
  pthread_mutex_unlock (&lock);
  return r;
}
