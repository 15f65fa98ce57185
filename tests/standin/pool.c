/* nbdkit-vram: VRAM of the stand-in in files that are in memory already
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* A GPU's VRAM takes no memory of the machine when it is allocated or written.
 * A file does, even a file on a disk, and the kernel may have to swap before
 * it gets that memory.  So a test of memory pressure makes and locks a pool of
 * files first.  flock says which ones are in use, as in account.c.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "standin.h"

/* Opens NAME in the directory DIR if it is a file for SIZE bytes that no
 * process holds.  Sets *FITS if the size is right.
 */
static int
take (int dir, const char *name, uint64_t size, bool *fits)
{
  int fd = openat (dir, name, O_RDWR | O_CLOEXEC);
  struct stat st;

  if (fd == -1)
    return -1;
  if (fstat (fd, &st) == 0 && S_ISREG (st.st_mode) &&
      (uint64_t) st.st_size == vram_file_total (size)) {
    *fits = true;
    if (flock (fd, LOCK_EX | LOCK_NB) == 0)
      return fd;
  }
  close (fd);
  return -1;
}

int
pool_take (uint64_t size)
{
  DIR *dir = opendir (config.pool);
  const struct dirent *d;
  bool fits = false;
  int fd = -1;

  if (!dir)
    settings_fatal ("POOL: %s: %m", config.pool);
  while (fd == -1 && (d = readdir (dir)) != NULL)
    fd = take (dirfd (dir), d->d_name, size, &fits);
  closedir (dir);
  errno = fits ? ENOMEM : ENOENT;
  return fd;
}
