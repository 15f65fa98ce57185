/* nbdkit-vram: the file that slots move to when their VRAM is needed elsewhere
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memlock.h"
#include "common/thread.h"
#include "common/units.h"
#include "disk/blockmap.h"
#include "disk/spill.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Buffers for requests, and the largest part of one that is copied at once. */
#define BUFFERS      8
#define BUFFER_BYTES (256 * KiB)

/* The file leaves this part of its file system, 1/20, to others. */
#define SPARE_PART 20

/* How much is overwritten at once. */
#define PIECE (4 * MiB)

struct spill {
  int fd;
  uint64_t size;
  _Atomic uint64_t ready;
  atomic_bool failed, logged;

  pthread_t thread;
  bool running;
  atomic_bool stop;

  pthread_mutex_t lock;
  pthread_cond_t returned;
  char *free_buffer[BUFFERS];
  unsigned free_buffers;
  char *buffers;
};

/*
 * Which files will do.
 */

/* Whether the block device DEV, or one that it is made of, is memory, or
 * itself what swap is on.
 */
static bool
is_memory (dev_t dev)
{
  char path[64], target[PATH_MAX];
  ssize_t n;

  snprintf (path, sizeof path, "/sys/dev/block/%u:%u", major (dev),
            minor (dev));
  n = readlink (path, target, sizeof target - 1);
  if (n == -1)
    return false;
  target[n] = '\0';
  return strstr (target, "/zram") || strstr (target, "/ram") ||
         strstr (target, "/nbd");
}

/* Whether the file FD lies where an overwrite needs no memory but for the I/O
 * itself: not in memory, on no network, and where blocks stay in their place.
 */
static bool
check_place (int fd, const char *dir, char reason[SPILL_REASON])
{
  struct statfs fs;
  struct stat st;

  if (fstatfs (fd, &fs) == -1 || fstat (fd, &st) == -1) {
    snprintf (reason, SPILL_REASON, "%.60s: %m", dir);
    return false;
  }
  if (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC) {
    snprintf (reason, SPILL_REASON,
              "%.60s is not on ext4 or XFS, which overwrite in place", dir);
    return false;
  }
  if (is_memory (st.st_dev)) {
    snprintf (reason, SPILL_REASON, "%.60s is on zram or a network disk", dir);
    return false;
  }
  return true;
}

/* Whether SIZE bytes fit beside what other programs need.  The server may use
 * what the file system reserves for root, and must not.
 */
static bool
check_room (int fd, const char *dir, uint64_t size, char reason[SPILL_REASON])
{
  struct statvfs fs;
  uint64_t spare, room;

  if (fstatvfs (fd, &fs) == -1) {
    snprintf (reason, SPILL_REASON, "%.60s: %m", dir);
    return false;
  }
  spare = fs.f_blocks / SPARE_PART * fs.f_frsize;
  room = fs.f_bavail * fs.f_frsize;
  room = room > spare ? room - spare : 0;
  if (size <= room)
    return true;
  snprintf (reason, SPILL_REASON, "%.60s: no room for %s: only %s can be used",
            dir, SIZE_STR (size), SIZE_STR (room));
  return false;
}

/* An empty file in DIR that will do, where there is room for SIZE bytes. */
static int
open_file (const char *dir, uint64_t size, char reason[SPILL_REASON])
{
  int fd = open (dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);

  if (fd == -1) {
    snprintf (reason, SPILL_REASON, "%.60s: %m", dir);
    return -1;
  }
  if (check_place (fd, dir, reason) && check_room (fd, dir, size, reason))
    return fd;
  close (fd);
  return -1;
}

static int
create_file (const char *dir, uint64_t size, char reason[SPILL_REASON])
{
  int fd = open_file (dir, size, reason);

  if (fd == -1 || fallocate (fd, 0, 0, (off_t) size) == 0)
    return fd;
  snprintf (reason, SPILL_REASON, "%.60s: no room for %s: %m", dir,
            SIZE_STR (size));
  close (fd);
  return -1;
}

int
spill_check (const char *dir, uint64_t size, char reason[SPILL_REASON])
{
  int fd = open_file (dir, size, reason);

  if (fd == -1)
    return -1;
  close (fd);
  return 0;
}

/*
 * Buffers.
 */

void *
spill_buffer (size_t count)
{
  void *p = mmap (NULL, count, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

  if (p != MAP_FAILED)
    return p;
  log_error ("cannot allocate a buffer of %s: %m", SIZE_STR (count));
  return NULL;
}

void
spill_buffer_free (void *buffer, size_t count)
{
  if (buffer)
    munmap (buffer, count);
}

static char *
get_buffer (struct spill *spill)
{
  char *buffer;

  pthread_mutex_lock (&spill->lock);
  while (spill->free_buffers == 0)
    pthread_cond_wait (&spill->returned, &spill->lock);
  buffer = spill->free_buffer[--spill->free_buffers];
  pthread_mutex_unlock (&spill->lock);
  return buffer;
}

static void
put_buffer (struct spill *spill, char *buffer)
{
  pthread_mutex_lock (&spill->lock);
  spill->free_buffer[spill->free_buffers++] = buffer;
  pthread_cond_signal (&spill->returned);
  pthread_mutex_unlock (&spill->lock);
}

/*
 * Opening.
 */

struct spill *
spill_open (const char *dir, int fd, uint64_t size, uint64_t ready,
            char reason[SPILL_REASON])
{
  struct spill *spill = calloc (1, sizeof *spill);

  if (spill)
    spill->buffers = spill_buffer (BUFFERS * BUFFER_BYTES);
  if (spill == NULL || spill->buffers == NULL) {
    snprintf (reason, SPILL_REASON, "out of memory");
    goto err;
  }
  if (fd == -1)
    fd = create_file (dir, size, reason);
  if (fd == -1)
    goto err;
  spill->fd = fd;
  spill->size = size;
  spill->ready = ready;
  pthread_mutex_init (&spill->lock, NULL);
  pthread_cond_init (&spill->returned, NULL);
  for (unsigned i = 0; i < BUFFERS; ++i)
    put_buffer (spill, spill->buffers + i * BUFFER_BYTES);
  return spill;

err:
  if (spill)
    spill_buffer_free (spill->buffers, BUFFERS * BUFFER_BYTES);
  free (spill);
  return NULL;
}

void
spill_close (struct spill *spill)
{
  if (spill == NULL)
    return;
  atomic_store (&spill->stop, true);
  if (spill->running)
    pthread_join (spill->thread, NULL);
  close (spill->fd);
  pthread_cond_destroy (&spill->returned);
  pthread_mutex_destroy (&spill->lock);
  spill_buffer_free (spill->buffers, BUFFERS * BUFFER_BYTES);
  free (spill);
}

int
spill_fd (const struct spill *spill)
{
  return spill->fd;
}

uint64_t
spill_ready (const struct spill *spill)
{
  return atomic_load (&spill->ready);
}

bool
spill_failed (const struct spill *spill)
{
  return atomic_load (&spill->failed);
}

/*
 * Copying.
 */

/* errno says why. */
static int
fail (struct spill *spill, const char *what)
{
  if (!atomic_exchange (&spill->logged, true))
    log_error ("cannot %s the spill file: %m (logged once; further requests "
               "that need it fail too)",
               what);
  errno = EIO;
  return -1;
}

int
spill_read_blocks (struct spill *spill, void *buf, size_t count,
                   uint64_t offset)
{
  char *to = buf;
  ssize_t n;

  while (count > 0) {
    n = pread (spill->fd, to, count, (off_t) offset);
    if (n == -1 && errno == EINTR)
      continue;
    if (n == 0)
      errno = EIO;
    if (n <= 0)
      return fail (spill, "read");
    to += n;
    offset += (uint64_t) n;
    count -= (size_t) n;
  }
  return 0;
}

int
spill_write_blocks (struct spill *spill, const void *buf, size_t count,
                    uint64_t offset)
{
  const char *from = buf;
  ssize_t n;

  while (count > 0) {
    n = pwrite (spill->fd, from, count, (off_t) offset);
    if (n == -1 && errno == EINTR)
      continue;
    if (n <= 0) {
      atomic_store (&spill->failed, true);
      return fail (spill, "write");
    }
    from += n;
    offset += (uint64_t) n;
    count -= (size_t) n;
  }
  return 0;
}

/* A part of a request, and the blocks that it lies in. */
struct part {
  size_t into;    /* bytes of the first block before it */
  size_t count;   /* bytes of it */
  uint64_t first; /* offset of the first block */
  size_t blocks;  /* bytes of the blocks */
};

static struct part
next_part (size_t count, uint64_t offset)
{
  struct part part;

  part.into = offset % BLOCK_SIZE;
  part.first = offset - part.into;
  part.count = BUFFER_BYTES - part.into;
  if (part.count > count)
    part.count = count;
  part.blocks = ROUND_UP (part.into + part.count, (size_t) BLOCK_SIZE);
  return part;
}

int
spill_read (struct spill *spill, void *buf, size_t count, uint64_t offset)
{
  char *buffer = get_buffer (spill), *to = buf;
  struct part part;
  int r = 0;

  for (; r == 0 && count > 0; count -= part.count) {
    part = next_part (count, offset);
    r = spill_read_blocks (spill, buffer, part.blocks, part.first);
    memcpy (to, buffer + part.into, part.count);
    to += part.count;
    offset += part.count;
  }
  put_buffer (spill, buffer);
  return r;
}

/* Read what the blocks of PART hold around it, at their ends. */
static int
read_ends (struct spill *spill, char *buffer, const struct part *part)
{
  const size_t end = part->into + part->count;
  const size_t last = part->blocks - BLOCK_SIZE;

  if (part->into > 0 &&
      spill_read_blocks (spill, buffer, BLOCK_SIZE, part->first) == -1)
    return -1;
  if (end == part->blocks || (part->into > 0 && last == 0))
    return 0;
  return spill_read_blocks (spill, buffer + last, BLOCK_SIZE,
                            part->first + last);
}

int
spill_write (struct spill *spill, const void *buf, size_t count,
             uint64_t offset)
{
  char *buffer = get_buffer (spill);
  const char *from = buf;
  struct part part;
  int r = 0;

  for (; r == 0 && count > 0; count -= part.count) {
    part = next_part (count, offset);
    r = read_ends (spill, buffer, &part);
    memcpy (buffer + part.into, from, part.count);
    if (r == 0)
      r = spill_write_blocks (spill, buffer, part.blocks, part.first);
    from += part.count;
    offset += part.count;
  }
  put_buffer (spill, buffer);
  return r;
}

/*
 * The thread.
 */

static void *
run (void *arg)
{
  struct spill *spill = arg;
  char *zeros = spill_buffer (PIECE);
  uint64_t at, n;

  memlock_check_thread ();
  while (zeros && !atomic_load (&spill->stop) &&
         (at = atomic_load (&spill->ready)) < spill->size) {
    n = spill->size - at < PIECE ? spill->size - at : PIECE;
    if (spill_write_blocks (spill, zeros, n, at) == -1)
      break;
    atomic_store (&spill->ready, at + n);
  }
  spill_buffer_free (zeros, PIECE);
  return NULL;
}

int
spill_start (struct spill *spill)
{
  if (atomic_load (&spill->ready) >= spill->size)
    return 0;
  if (thread_start (&spill->thread, run, spill) == -1)
    return -1;
  spill->running = true;
  return 0;
}
