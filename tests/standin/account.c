/* nbdkit-vram: counts how much of the stand-in's VRAM all processes hold
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Each piece of VRAM is a file in the shared directory, its name saying whose
 * and how large it is, locked with flock.  Such a lock belongs to the open
 * file description: it stays for as long as any descriptor duplicated from it,
 * sent through a socket or inherited, or any mapping made of it, exists
 * anywhere, which is how long a GPU keeps the memory.  A file that can be
 * locked is one whose process has ended.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "standin.h"

static void
format_uuid (char buf[33], const CUuuid *uuid)
{
  int i;

  for (i = 0; i < 16; i++)
    snprintf (buf + 2 * i, 3, "%02x", uuid->bytes[i]);
}

/* Locks out other processes until the result is closed. */
static int
lock_directory (void)
{
  char path[4096];
  int fd;

  snprintf (path, sizeof path, "%s/lock", config.shared);
  fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd == -1)
    settings_fatal ("SHARED: %s: %m", path);
  while (flock (fd, LOCK_EX) == -1)
    if (errno != EINTR)
      settings_fatal ("SHARED: %s: %m", path);
  return fd;
}

/* Sums up VRAM that is held, and removes files that no process holds. */
static uint64_t
scan (const char *uuid)
{
  DIR *dir = opendir (config.shared);
  struct dirent *d;
  uint64_t sum = 0, size;
  char owner[33];
  int fd;

  if (!dir)
    settings_fatal ("SHARED: %s: %m", config.shared);
  while ((d = readdir (dir)) != NULL) {
    if (sscanf (d->d_name, "vram.%32[0-9a-f].%*d.%*u.%" SCNu64, owner,
                &size) != 2)
      continue;
    fd = openat (dirfd (dir), d->d_name, O_RDWR | O_CLOEXEC);
    if (fd == -1)
      continue;
    if (flock (fd, LOCK_EX | LOCK_NB) == 0)
      unlinkat (dirfd (dir), d->d_name, 0);
    else if (strcmp (owner, uuid) == 0)
      sum += size;
    close (fd);
  }
  closedir (dir);
  return sum;
}

uint64_t
account_used (const CUuuid *uuid)
{
  char hex[33];
  uint64_t sum;
  int lock_fd;

  format_uuid (hex, uuid);
  lock_fd = lock_directory ();
  sum = scan (hex);
  close (lock_fd);
  return sum;
}

int
account_create (const CUuuid *uuid, uint64_t size, uint64_t limit)
{
  static _Atomic unsigned int count;
  char hex[33], path[4096];
  int fd = -1, lock_fd;

  format_uuid (hex, uuid);
  lock_fd = lock_directory ();
  if (scan (hex) + size > limit) {
    errno = ENOSPC;
    goto out;
  }
  snprintf (path, sizeof path, "%s/vram.%s.%d.%u.%" PRIu64, config.shared, hex,
            (int) getpid (), atomic_fetch_add (&count, 1), size);
  fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -1 || flock (fd, LOCK_EX | LOCK_NB) == -1)
    settings_fatal ("SHARED: %s: %m", path);
out:
  close (lock_fd);
  return fd;
}
