/* nbdkit-vram: lets a server see device nodes of NVIDIA's driver that do not
 * exist
 * SPDX-License-Identifier: BSD-3-Clause
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The driver's files are below $VRAM_TEST_ROOT. */
static const char *
redirect (const char *path, char buf[PATH_MAX])
{
  const char *root = getenv ("VRAM_TEST_ROOT");

  if (root == NULL || (strncmp (path, "/dev/nvidia", 11) != 0 &&
                       strncmp (path, "/proc/driver/nvidia/", 20) != 0))
    return path;
  snprintf (buf, PATH_MAX, "%s%s", root, path);
  return buf;
}

int
open (const char *path, int flags, ...)
{
  int (*next) (const char *path, int flags, ...) = dlsym (RTLD_NEXT, "open");
  char buf[PATH_MAX];
  va_list args;
  int mode;

  va_start (args, flags);
  mode = va_arg (args, int);
  va_end (args);
  return next (redirect (path, buf), flags, mode);
}

FILE *
fopen (const char *path, const char *mode)
{
  FILE *(*next) (const char *path, const char *mode) =
      dlsym (RTLD_NEXT, "fopen");
  char buf[PATH_MAX];

  return next (redirect (path, buf), mode);
}
