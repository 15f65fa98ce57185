/* nbdkit-vram: the file of one allocation of the stand-in's VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vram-file.h"

#define PAGE 4096ULL

static const char magic[16] = "standin VRAM 1\n";

/* State of a granule: 0 at first, READY, or the ID of the process that is
 * filling it (which may die meanwhile).
 */
#define READY UINT32_MAX

static uint64_t
granule_count (uint64_t size)
{
  return (size + VRAM_GRANULE - 1) / VRAM_GRANULE;
}

static uint64_t
header_offset (uint64_t size)
{
  return (size + PAGE - 1) & ~(PAGE - 1);
}

static uint64_t
header_size (uint64_t size)
{
  uint64_t n = sizeof (struct vram_header) + granule_count (size) * 4;

  return (n + PAGE - 1) & ~(PAGE - 1);
}

uint64_t
vram_file_total (uint64_t size)
{
  return header_offset (size) + header_size (size);
}

static int
map_header (struct vram_file *f, int fd, uint64_t size)
{
  void *p;

  p = mmap (NULL, header_size (size), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
            (off_t) header_offset (size));
  if (p == MAP_FAILED)
    return -1;
  f->fd = fd;
  f->size = size;
  f->header = p;
  f->header_size = header_size (size);
  return 0;
}

int
vram_file_format (struct vram_file *f, int fd, uint64_t size,
                  const unsigned char uuid[16], uint64_t garbage, bool pooled)
{
  if (ftruncate (fd, (off_t) vram_file_total (size)) == -1)
    return -1;
  if (map_header (f, fd, size) == -1)
    return -1;
  /* A pooled file has the header of an earlier allocation. */
  memset (f->header, 0, f->header_size);
  f->header->size = size;
  f->header->garbage = pooled ? 0 : garbage;
  f->header->pooled = pooled;
  memcpy (f->header->uuid, uuid, 16);
  memcpy (f->header->magic, magic, sizeof magic);
  return 0;
}

int
vram_file_open (struct vram_file *f, int fd)
{
  struct stat st;
  struct vram_header h;
  uint64_t size;

  if (fstat (fd, &st) == -1)
    return -1;
  if (!S_ISREG (st.st_mode) || st.st_size <= 0)
    goto invalid;

  /* The total grows with the size, so bisection finds the size. */
  uint64_t low = 0, high = (uint64_t) st.st_size;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2 / PAGE * PAGE;

    if (vram_file_total (middle) < (uint64_t) st.st_size)
      low = middle + PAGE;
    else
      high = middle;
  }
  size = low;
  if (vram_file_total (size) != (uint64_t) st.st_size)
    goto invalid;
  if (pread (fd, &h, sizeof h, (off_t) header_offset (size)) !=
          (ssize_t) sizeof h ||
      memcmp (h.magic, magic, sizeof magic) != 0 || h.size != size)
    goto invalid;
  return map_header (f, fd, size);

invalid:
  errno = EINVAL;
  return -1;
}

void
vram_file_release (struct vram_file *f)
{
  munmap (f->header, f->header_size);
  f->header = NULL;
  f->fd = -1;
}

void
vram_file_close (struct vram_file *f)
{
  int fd = f->fd;

  vram_file_release (f);
  close (fd);
}

static int
write_fully (int fd, const void *buf, uint64_t size, uint64_t offset)
{
  while (size > 0) {
    ssize_t r = pwrite (fd, buf, size, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      return -1;
    buf = (const char *) buf + r;
    size -= (uint64_t) r;
    offset += (uint64_t) r;
  }
  return 0;
}

static int
write_garbage (struct vram_file *f, uint64_t granule)
{
  unsigned char buf[4096];
  const uint64_t start = granule * VRAM_GRANULE;
  uint64_t end = start + VRAM_GRANULE, at;
  size_t i;

  if (end > f->size)
    end = f->size;
  if (end > f->header->garbage)
    end = f->header->garbage;
  /* Never zero, and different in neighbouring places. */
  for (i = 0; i < sizeof buf; i++)
    buf[i] = (unsigned char) ((i * 7 + granule * 31) | 1);
  for (at = start; at < end; at += sizeof buf) {
    uint64_t n = end - at < sizeof buf ? end - at : sizeof buf;

    if (write_fully (f->fd, buf, n, at) == -1)
      return -1;
  }
  return 0;
}

/* Makes granule I ready, with its garbage unless all of it gets overwritten.
 */
static int
touch_granule (struct vram_file *f, uint64_t i, bool overwritten)
{
  _Atomic uint32_t *state = &f->header->granules[i];
  const uint32_t self = (uint32_t) getpid ();
  uint32_t old = 0;

  if (overwritten) {
    /* Wait for a thread that is filling it. */
    while ((old = atomic_load (state)) != READY) {
      if (old == 0 && atomic_compare_exchange_strong (state, &old, READY))
        break;
      if (old != 0 && kill ((pid_t) old, 0) == -1 && errno == ESRCH)
        atomic_compare_exchange_strong (state, &old, 0);
      sched_yield ();
    }
    return 0;
  }

  for (;;) {
    old = atomic_load (state);
    if (old == READY)
      return 0;
    if (old != 0) {
      /* Another thread or process is filling it, unless that was killed. */
      if (!(kill ((pid_t) old, 0) == -1 && errno == ESRCH)) {
        sched_yield ();
        continue;
      }
    }
    if (!atomic_compare_exchange_strong (state, &old, self))
      continue;
    if (write_garbage (f, i) == -1) {
      atomic_store (state, 0);
      return -1;
    }
    atomic_store (state, READY);
    return 0;
  }
}

static int
touch (struct vram_file *f, uint64_t size, uint64_t offset, bool overwriting)
{
  const uint64_t end = offset + size;
  uint64_t i;

  if (size == 0)
    return 0;
  for (i = offset / VRAM_GRANULE; i * VRAM_GRANULE < end; i++) {
    bool whole = i * VRAM_GRANULE >= offset &&
                 ((i + 1) * VRAM_GRANULE <= end || end == f->size);

    if (touch_granule (f, i, overwriting && whole) == -1)
      return -1;
  }
  return 0;
}

int
vram_file_settle (struct vram_file *f, uint64_t limit)
{
  if (limit > f->size)
    limit = f->size;
  if (touch (f, limit, 0, false) == -1)
    return -1;
  return touch (f, f->size - limit, limit, true);
}

int
vram_file_read (struct vram_file *f, void *buf, uint64_t size, uint64_t offset)
{
  if (touch (f, size, offset, false) == -1)
    return -1;
  while (size > 0) {
    ssize_t r = pread (f->fd, buf, size, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      return -1;
    buf = (char *) buf + r;
    size -= (uint64_t) r;
    offset += (uint64_t) r;
  }
  return 0;
}

int
vram_file_write (struct vram_file *f, const void *buf, uint64_t size,
                 uint64_t offset)
{
  if (touch (f, size, offset, true) == -1)
    return -1;
  return write_fully (f->fd, buf, size, offset);
}

int
vram_file_set (struct vram_file *f, unsigned char value, uint64_t size,
               uint64_t offset)
{
  unsigned char buf[4096];

  if (touch (f, size, offset, true) == -1)
    return -1;
  if (value == 0 && size >= PAGE && !f->header->pooled) {
    /* Zeros are a hole, which takes no memory. */
    if (fallocate (f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   (off_t) offset, (off_t) size) == 0)
      return 0;
  }
  memset (buf, value, sizeof buf);
  while (size > 0) {
    uint64_t n = size < sizeof buf ? size : sizeof buf;

    if (write_fully (f->fd, buf, n, offset) == -1)
      return -1;
    size -= n;
    offset += n;
  }
  return 0;
}

uint64_t
vram_file_dirty (struct vram_file *f)
{
  unsigned char buf[4096];
  uint64_t count = 0;
  off_t at = 0, hole;

  while (at < (off_t) f->size) {
    at = lseek (f->fd, at, SEEK_DATA);
    if (at == -1 || at >= (off_t) f->size)
      break;
    hole = lseek (f->fd, at, SEEK_HOLE);
    if (hole == -1 || hole > (off_t) f->size)
      hole = (off_t) f->size;
    while (at < hole) {
      ssize_t i,
          n = hole - at < (off_t) sizeof buf ? hole - at : (off_t) sizeof buf;

      n = pread (f->fd, buf, (size_t) n, at);
      if (n <= 0)
        return count;
      for (i = 0; i < n; i++)
        count += buf[i] != 0;
      at += n;
    }
  }
  return count;
}
