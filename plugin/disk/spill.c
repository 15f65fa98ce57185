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

#include "common/clock.h"
#include "common/log.h"
#include "common/memlock.h"
#include "common/thread.h"
#include "common/units.h"
#include "disk/blockmap.h"
#include "disk/spill.h"
#include "disk/transfer.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Transfers for requests, and the bytes of each.  Larger requests are copied
 * in parts.
 */
#define TRANSFERS      8
#define TRANSFER_BYTES (256 * KiB)

/* 1/20 of the file system is left to other programs. */
#define SPARE_PART 20

/* How long the end waits for a write of the thread. */
#define JOIN_MS 10000

/* How much is overwritten at once, in bytes. */
#define PIECE (4 * MiB)

struct spill {
  int fd;
  uint64_t size;
  _Atomic uint64_t ready;
  atomic_bool failed, logged;

  pthread_t thread;
  bool running;
  atomic_bool stop, ended;

  unsigned timeout_ms;
  struct transfer mover;
  struct transfer transfer[TRANSFERS];

  pthread_mutex_t lock;
  pthread_cond_t returned;
  struct transfer *free[TRANSFERS], *late[TRANSFERS + 1];
  unsigned free_count;
  atomic_uint late_count;
};

/*
 * Checks of the folder.
 */

/* Whether the block device DEV is in memory, or is an NBD device, which swap
 * may be on.
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

/* Whether overwriting the file FD needs memory only for the I/O itself: it
 * must not be in memory or on a network, and blocks must stay in their place.
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
    snprintf (reason, SPILL_REASON,
              "%.60s is on zram, a RAM disk or an NBD device", dir);
    return false;
  }
  return true;
}

/* Whether SIZE bytes fit and leave a part to other programs.  A server of root
 * could also use the blocks that are reserved for root, but must not.
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

/* Open an empty file in DIR, which must be suitable and have room for SIZE
 * bytes.  Returns -1 with the reason in REASON.
 */
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
 * Transfers.
 */

/* Find out which transfers are still late.  Needs the lock. */
static void
settle (struct spill *spill)
{
  struct transfer *t;

  for (unsigned i = 0; i < atomic_load (&spill->late_count);) {
    t = spill->late[i];
    if (transfer_is_late (t)) {
      ++i;
      continue;
    }
    if (t != &spill->mover)
      spill->free[spill->free_count++] = t;
    spill->late[i] = spill->late[atomic_load (&spill->late_count) - 1];
    if (atomic_fetch_sub (&spill->late_count, 1) == 1) {
      atomic_store (&spill->logged, false);
      log_info ("the disk of the spill file answers again");
    }
  }
}

/* Whether the disk answers: while a transfer is late, no other one begins.
 * Otherwise sets errno to ETIMEDOUT.
 */
static bool
answers (struct spill *spill)
{
  if (atomic_load (&spill->late_count) == 0)
    return true;
  pthread_mutex_lock (&spill->lock);
  settle (spill);
  pthread_mutex_unlock (&spill->lock);
  errno = ETIMEDOUT;
  return atomic_load (&spill->late_count) == 0;
}

/* Take a free transfer, or wait for one until UNTIL_MS.  Returns NULL with
 * errno = ETIMEDOUT.
 */
static struct transfer *
take_transfer (struct spill *spill, uint64_t until_ms)
{
  struct transfer *t = NULL;
  struct timespec until;
  uint64_t now;

  pthread_mutex_lock (&spill->lock);
  settle (spill);
  while (spill->free_count == 0 && atomic_load (&spill->late_count) == 0 &&
         (now = clock_ms ()) < until_ms) {
    until = clock_after_ns ((until_ms - now) * UINT64_C (1000000));
    pthread_cond_clockwait (&spill->returned, &spill->lock, CLOCK_MONOTONIC,
                            &until);
  }
  if (spill->free_count > 0 && atomic_load (&spill->late_count) == 0)
    t = spill->free[--spill->free_count];
  pthread_mutex_unlock (&spill->lock);
  errno = ETIMEDOUT;
  return t;
}

static void
put_transfer (struct spill *spill, struct transfer *t)
{
  pthread_mutex_lock (&spill->lock);
  if (t->late) {
    spill->late[atomic_fetch_add (&spill->late_count, 1)] = t;
    pthread_cond_broadcast (&spill->returned);
  }
  else if (t != &spill->mover) {
    spill->free[spill->free_count++] = t;
    pthread_cond_signal (&spill->returned);
  }
  pthread_mutex_unlock (&spill->lock);
}

/*
 * Opening.
 */

static void
free_spill (struct spill *spill)
{
  for (unsigned i = 0; i < TRANSFERS; ++i)
    transfer_close (&spill->transfer[i]);
  transfer_close (&spill->mover);
  free (spill);
}

struct spill *
spill_open (const char *dir, int fd, uint64_t size, uint64_t ready,
            unsigned timeout_ms, char reason[SPILL_REASON])
{
  struct spill *spill = calloc (1, sizeof *spill);

  if (spill == NULL) {
    snprintf (reason, SPILL_REASON, "out of memory");
    return NULL;
  }
  for (unsigned i = 0; i < TRANSFERS; ++i) {
    if (transfer_open (&spill->transfer[i], TRANSFER_BYTES) == -1) {
      snprintf (reason, SPILL_REASON, "io_setup: %m");
      goto err;
    }
    spill->free[spill->free_count++] = &spill->transfer[i];
  }
  if (fd == -1)
    fd = create_file (dir, size, reason);
  if (fd == -1)
    goto err;
  spill->fd = fd;
  spill->size = size;
  spill->ready = ready;
  spill->timeout_ms = timeout_ms;
  pthread_mutex_init (&spill->lock, NULL);
  pthread_cond_init (&spill->returned, NULL);
  return spill;

err:
  free_spill (spill);
  return NULL;
}

void
spill_close (struct spill *spill)
{
  if (spill == NULL)
    return;
  atomic_store (&spill->stop, true);
  if (spill->running &&
      thread_join (spill->thread, &spill->ended, JOIN_MS) == -1) {
    log_warning ("the spill file's disk has not answered for %d ms; ending "
                 "without waiting for it",
                 JOIN_MS);
    return;
  }
  close (spill->fd);
  pthread_cond_destroy (&spill->returned);
  pthread_mutex_destroy (&spill->lock);
  free_spill (spill);
}

void *
spill_move_buffer (struct spill *spill, size_t size)
{
  if (transfer_open (&spill->mover, size) == 0)
    return spill->mover.buffer;
  log_error ("cannot allocate a buffer of %s: %m", SIZE_STR (size));
  return NULL;
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
spill_grows (const struct spill *spill)
{
  return spill_ready (spill) < spill->size && !atomic_load (&spill->failed);
}

bool
spill_works (struct spill *spill)
{
  return !atomic_load (&spill->failed) && answers (spill);
}

/*
 * Copying.
 */

/* Log that WHAT has failed, with errno.  Returns -1 with errno = EIO. */
static int
fail (struct spill *spill, const char *what)
{
  const int why = errno;

  errno = EIO;
  if (atomic_exchange (&spill->logged, true))
    return -1;
  errno = why;
  if (why == ETIMEDOUT)
    log_error ("cannot %s the spill file: its disk has not answered for "
               "%u ms; requests that need it fail until it does",
               what, spill->timeout_ms);
  else
    log_error ("cannot %s the spill file: %m (logged once; further requests "
               "that need it fail too)",
               what);
  errno = EIO;
  return -1;
}

uint64_t
spill_until (const struct spill *spill)
{
  return clock_ms () + spill->timeout_ms;
}

static int
read_blocks (struct spill *spill, struct transfer *t, size_t at, size_t count,
             uint64_t offset, uint64_t until_ms)
{
  ssize_t n;

  for (; count > 0;
       at += (size_t) n, offset += (uint64_t) n, count -= (size_t) n) {
    n = transfer_read (t, spill->fd, at, count, offset, until_ms);
    if (n == 0)
      errno = EIO;
    if (n <= 0)
      return fail (spill, "read");
  }
  return 0;
}

static int
write_blocks (struct spill *spill, struct transfer *t, size_t at, size_t count,
              uint64_t offset, uint64_t until_ms)
{
  ssize_t n;

  for (; count > 0;
       at += (size_t) n, offset += (uint64_t) n, count -= (size_t) n) {
    n = transfer_write (t, spill->fd, at, count, offset, until_ms);
    if (n == 0)
      errno = EIO;
    if (n <= 0) {
      atomic_store (&spill->failed, true);
      return fail (spill, "write");
    }
  }
  return 0;
}

typedef int copy_fn (struct spill *spill, struct transfer *t, size_t at,
                     size_t count, uint64_t offset, uint64_t until_ms);

static int
copy_moved (struct spill *spill, copy_fn *copy, const char *what, size_t count,
            uint64_t offset, uint64_t until_ms)
{
  int r;

  if (!answers (spill))
    return fail (spill, what);
  r = copy (spill, &spill->mover, 0, count, offset, until_ms);
  put_transfer (spill, &spill->mover);
  return r;
}

int
spill_read_moved (struct spill *spill, size_t count, uint64_t offset,
                  uint64_t until_ms)
{
  return copy_moved (spill, read_blocks, "read", count, offset, until_ms);
}

int
spill_write_moved (struct spill *spill, size_t count, uint64_t offset,
                   uint64_t until_ms)
{
  return copy_moved (spill, write_blocks, "write", count, offset, until_ms);
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
  part.count = TRANSFER_BYTES - part.into;
  if (part.count > count)
    part.count = count;
  part.blocks = ROUND_UP (part.into + part.count, (size_t) BLOCK_SIZE);
  return part;
}

int
spill_read (struct spill *spill, void *buf, size_t count, uint64_t offset)
{
  const uint64_t until = spill_until (spill);
  struct transfer *t = take_transfer (spill, until);
  struct part part;
  char *to = buf;
  int r = 0;

  if (t == NULL)
    return fail (spill, "read");
  for (; r == 0 && count > 0; count -= part.count) {
    part = next_part (count, offset);
    r = read_blocks (spill, t, 0, part.blocks, part.first, until);
    if (r == 0)
      memcpy (to, t->buffer + part.into, part.count);
    to += part.count;
    offset += part.count;
  }
  put_transfer (spill, t);
  return r;
}

/* Read the bytes around PART in its first and last block. */
static int
read_ends (struct spill *spill, struct transfer *t, const struct part *part,
           uint64_t until)
{
  const size_t end = part->into + part->count;
  const size_t last = part->blocks - BLOCK_SIZE;

  if (part->into > 0 &&
      read_blocks (spill, t, 0, BLOCK_SIZE, part->first, until) == -1)
    return -1;
  if (end == part->blocks || (part->into > 0 && last == 0))
    return 0;
  return read_blocks (spill, t, last, BLOCK_SIZE, part->first + last, until);
}

int
spill_write (struct spill *spill, const void *buf, size_t count,
             uint64_t offset)
{
  const uint64_t until = spill_until (spill);
  struct transfer *t = take_transfer (spill, until);
  const char *from = buf;
  struct part part;
  int r = 0;

  if (t == NULL)
    return fail (spill, "write");
  for (; r == 0 && count > 0; count -= part.count) {
    part = next_part (count, offset);
    r = read_ends (spill, t, &part, until);
    if (r == 0) {
      memcpy (t->buffer + part.into, from, part.count);
      r = write_blocks (spill, t, 0, part.blocks, part.first, until);
    }
    from += part.count;
    offset += part.count;
  }
  put_transfer (spill, t);
  return r;
}

/*
 * The thread.
 */

/* Wait without a limit, because no request waits for this thread. */
static void *
run (void *arg)
{
  struct spill *spill = arg;
  char *zeros = mmap (NULL, PIECE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uint64_t at;
  ssize_t n;

  memlock_check_thread ();
  while (zeros != MAP_FAILED && !atomic_load (&spill->stop) &&
         (at = atomic_load (&spill->ready)) < spill->size) {
    n = pwrite (spill->fd, zeros,
                spill->size - at < PIECE ? spill->size - at : PIECE,
                (off_t) at);
    if (n == -1 && errno == EINTR)
      continue;
    if (n <= 0) {
      atomic_store (&spill->failed, true);
      fail (spill, "write");
      break;
    }
    atomic_store (&spill->ready, at + (uint64_t) n);
  }
  if (zeros != MAP_FAILED)
    munmap (zeros, PIECE);
  else
    log_error ("cannot allocate a buffer of %s: %m", SIZE_STR (PIECE));
  atomic_store (&spill->ended, true);
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
