/* nbdkit-vram: a provider whose VRAM is ordinary memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory-provider.h"

struct memory_chunk {
  struct chunk chunk; /* first */
  unsigned char *bytes;
  int fd; /* of a memfd, else -1 */
};

static const struct provider_functions memory_functions;

static struct memory_provider *
provider_of (const struct provider *p)
{
  return (struct memory_provider *) p;
}

static struct memory_chunk *
chunk_of (const struct chunk *chunk)
{
  return (struct memory_chunk *) chunk;
}

void
memory_provider_begin (struct memory_provider *m, uint64_t chunk_size,
                       uint64_t bytes_free)
{
  memset (m, 0, sizeof *m);
  m->provider.f = &memory_functions;
  m->provider.granularity = 4096;
  m->provider.chunk_size = chunk_size;
  m->provider.device.total = bytes_free;
  m->bytes_free = bytes_free;
}

unsigned char
memory_provider_byte (const struct chunk *chunk, uint64_t offset)
{
  return chunk_of (chunk)->bytes[offset];
}

bool
memory_provider_is_zero (const struct chunk *chunk)
{
  const unsigned char *bytes = chunk_of (chunk)->bytes;

  return bytes[0] == 0 && memcmp (bytes, bytes + 1, chunk->size - 1) == 0;
}

static void
step (const struct provider *p)
{
  if (provider_of (p)->called)
    provider_of (p)->called ();
}

static void
memory_free (struct provider *p, struct chunk *c)
{
  struct memory_chunk *chunk = chunk_of (c);

  step (p);
  if (!provider_of (p)->reserve_only && !memory_provider_is_zero (c))
    provider_of (p)->dirty_frees++;
  if (chunk->fd != -1) {
    munmap (chunk->bytes, chunk->chunk.size);
    close (chunk->fd);
  }
  else
    free (chunk->bytes);
  provider_of (p)->bytes_free += chunk->chunk.size;
  provider_of (p)->chunks--;
  free (chunk);
}

/* A chunk of SIZE bytes in the memfd FD, or from malloc if that is -1. */
static struct chunk *
make_chunk (struct memory_provider *m, int fd, uint64_t size)
{
  struct memory_chunk *chunk = malloc (sizeof *chunk);
  void *bytes =
      fd == -1 ? malloc (m->reserve_only ? 1 : size)
               : mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

  if (chunk == NULL || bytes == NULL || bytes == MAP_FAILED)
    abort ();
  chunk->chunk.size = size;
  chunk->bytes = bytes;
  chunk->fd = fd;
  m->bytes_free -= size;
  m->chunks++;
  return &chunk->chunk;
}

static int
memory_allocate (struct provider *p, uint64_t size, struct chunk **chunk,
                 char reason[PROVIDER_REASON])
{
  struct memory_provider *m = provider_of (p);
  int fd = -1;

  step (p);
  snprintf (reason, PROVIDER_REASON, "the test wants it so");
  if (m->fail_nth > 0 && --m->fail_nth == 0)
    return m->fail_result;
  if (size > m->bytes_free)
    return 1;
  if (m->exportable) {
    fd = memfd_create ("chunk", MFD_CLOEXEC);
    if (fd == -1 || ftruncate (fd, (off_t) size) == -1)
      abort ();
  }
  *chunk = make_chunk (m, fd, size);
  if (!m->reserve_only)
    memset (chunk_of (*chunk)->bytes, 0xa5, size);
  return 0;
}

static struct chunk *
memory_import (struct provider *p, int fd, uint64_t size,
               char reason[PROVIDER_REASON])
{
  struct memory_provider *m = provider_of (p);

  snprintf (reason, PROVIDER_REASON, "the test wants it so");
  if (m->fail_nth > 0 && --m->fail_nth == 0)
    return NULL;
  return make_chunk (m, fd, size);
}

static int
memory_map (struct provider *p, struct chunk *chunk, uint64_t spare,
            char reason[PROVIDER_REASON])
{
  struct memory_provider *m = provider_of (p);

  (void) chunk;
  step (p);
  snprintf (reason, PROVIDER_REASON, "the test wants it so");
  if (m->fail_nth > 0 && --m->fail_nth == 0)
    return -1;
  m->spares[m->maps++ % 8] = spare;
  return 0;
}

static int
memory_export (struct provider *p, const struct chunk *chunk,
               char reason[PROVIDER_REASON])
{
  (void) p;
  snprintf (reason, PROVIDER_REASON, "the test wants it so");
  return chunk_of (chunk)->fd == -1
             ? -1
             : fcntl (chunk_of (chunk)->fd, F_DUPFD_CLOEXEC, 3);
}

static int
memory_free_bytes (struct provider *p, uint64_t *bytes)
{
  *bytes = provider_of (p)->bytes_free;
  return provider_of (p)->fail_free_bytes ? -1 : 0;
}

/* As memcpy, with a pause now and then. */
static void
copy (const struct memory_provider *m, unsigned char *dst,
      const unsigned char *src, size_t count)
{
  for (size_t i = 0; i < count; ++i) {
    __atomic_store_n (dst + i, __atomic_load_n (src + i, __ATOMIC_RELAXED),
                      __ATOMIC_RELAXED);
    if (m->pause && i % 256 == 255)
      m->pause ();
  }
}

static int
copy_part (struct memory_provider *m, bool write, unsigned char *dst,
           const unsigned char *src, size_t count)
{
  size_t n = m->before ? m->before (write, count) : count;

  if (atomic_load (&m->lost))
    n = 0;
  if (m->pause)
    copy (m, dst, src, n);
  else
    memcpy (dst, src, n);
  if (n == count)
    return 0;
  errno = EIO;
  return -1;
}

static int
memory_read (struct provider *p, struct chunk *chunk, uint64_t offset,
             void *buf, size_t count)
{
  struct memory_provider *m = provider_of (p);

  if (offset >= chunk->size || count > chunk->size - offset)
    abort ();
  atomic_fetch_add (&m->reads, 1);
  return copy_part (m, false, buf, chunk_of (chunk)->bytes + offset, count);
}

static int
memory_write (struct provider *p, struct chunk *chunk, uint64_t offset,
              const void *buf, size_t count)
{
  struct memory_provider *m = provider_of (p);

  if (offset >= chunk->size || count > chunk->size - offset)
    abort ();
  atomic_fetch_add (&m->writes, 1);
  return copy_part (m, true, chunk_of (chunk)->bytes + offset, buf, count);
}

static int
memory_zero (struct provider *p, struct chunk *chunk, uint64_t offset,
             uint64_t count)
{
  step (p);
  if (offset > chunk->size || count > chunk->size - offset)
    abort ();
  if (provider_of (p)->fail_zeros > 0) {
    provider_of (p)->fail_zeros--;
    errno = EIO;
    return -1;
  }
  provider_of (p)->zeroed += count;
  if (!provider_of (p)->reserve_only)
    memset (chunk_of (chunk)->bytes + offset, 0, count);
  return 0;
}

static int
memory_check (struct provider *p)
{
  errno = EIO;
  return atomic_load (&provider_of (p)->lost) ? -1 : 0;
}

static const struct provider_functions memory_functions = {
  .name = "memory",
  .allocate = memory_allocate,
  .import = memory_import,
  .map = memory_map,
  .export = memory_export,
  .free = memory_free,
  .free_bytes = memory_free_bytes,
  .read = memory_read,
  .write = memory_write,
  .zero = memory_zero,
  .check = memory_check,
};
