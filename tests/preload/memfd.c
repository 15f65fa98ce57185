/* nbdkit-vram: makes memfd_create of the superblock fail
 * SPDX-License-Identifier: BSD-3-Clause
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int
memfd_create (const char *name, unsigned int flags)
{
  int (*next) (const char *name, unsigned int flags) =
      dlsym (RTLD_NEXT, "memfd_create");

  if (strcmp (name, "nbdkit-vram") != 0)
    return next (name, flags);
  errno = ENOSYS;
  return -1;
}
