/* nbdkit-vram: releases memory that only the start needs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/log.h"
#include "gpu/vulkan/release.h"
#include "common/units.h"

/* One mapping of a file in /proc/self/smaps. */
struct map {
  uintptr_t start, end;
  bool wanted;       /* a mapping to look at */
  uint64_t resident; /* KiB, as the following */
  uint64_t changed;  /* pages that differ from the file */
};

/* Whether PATH is a library that only Vulkan uses, such as libGLX_nvidia,
 * libnvidia-glcore or libvulkan.
 */
static bool
is_vulkan_library (const char *path)
{
  const char *name = strrchr (path, '/');

  if (name == NULL)
    return false;
  return strstr (name, "nvidia") || strncmp (name, "/libvulkan", 10) == 0;
}

/* Release the pages of MAP.  Returns how many KiB. */
static uint64_t
drop (const struct map *map)
{
  if (!map->wanted || map->changed > 0 || map->resident == 0)
    return 0;
  /* This fails if memory has been locked already. */
  if (madvise ((void *) map->start, map->end - map->start, MADV_DONTNEED) ==
      -1)
    return 0;
  return map->resident;
}

/* A line such as "7f12000-7f34000 r-xp 00028000 08:01 1234   /usr/lib/x.so".
 */
static bool
parse_map (const char *line, struct map *map)
{
  char permissions[5];
  int path = 0;

  if (sscanf (line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %n",
              &map->start, &map->end, permissions, &path) != 3 ||
      path == 0)
    return false;
  /* Private and read-only. */
  map->wanted = permissions[1] == '-' && permissions[3] == 'p' &&
                is_vulkan_library (line + path);
  map->resident = map->changed = 0;
  return true;
}

/* A line such as "Rss:      24 kB". */
static void
parse_field (const char *line, struct map *map)
{
  uint64_t kib;

  if (sscanf (line, "Rss: %" SCNu64, &kib) == 1)
    map->resident = kib;
  else if (sscanf (line, "Anonymous: %" SCNu64, &kib) == 1 ||
           sscanf (line, "Swap: %" SCNu64, &kib) == 1)
    map->changed += kib;
}

void
release_libraries (void)
{
  struct map map = { 0 };
  char *line = NULL;
  size_t size = 0;
  uint64_t kib = 0;
  FILE *smaps;

  malloc_trim (0);
  smaps = fopen ("/proc/self/smaps", "re");
  if (smaps == NULL)
    return;
  while (getline (&line, &size, smaps) != -1) {
    struct map next;

    if (!parse_map (line, &next)) {
      parse_field (line, &map);
      continue;
    }
    kib += drop (&map);
    map = next;
  }
  kib += drop (&map);
  fclose (smaps);
  free (line);
  log_debug ("released %s of code that only opening the window needs",
             SIZE_STR (kib * KiB));
}
