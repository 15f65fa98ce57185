/* nbdkit-vram: how much memory there is
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "meminfo.h"
#include "msg.h"
#include "root.h"

int
meminfo_read (struct meminfo *m)
{
  const char *path = root_path ("/proc/meminfo");
  char text[8192];
  struct {
    const char *name;
    int64_t *value;
  } fields[] = {
    { "MemTotal:", &m->total },         { "MemFree:", &m->free },
    { "MemAvailable:", &m->available }, { "SwapTotal:", &m->swap_total },
    { "SwapFree:", &m->swap_free },
  };

  if (read_text (path, text, sizeof text) == -1) {
    error ("%s: %m", path);
    return -1;
  }
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    size_t n = strlen (fields[i].name);
    const char *line = text;

    while (line && strncmp (line, fields[i].name, n) != 0) {
      line = strchr (line, '\n');
      if (line)
        line++;
    }
    if (!line || sscanf (line + n, "%" SCNd64 " kB", fields[i].value) != 1) {
      error ("%s: no %s in it", path, fields[i].name);
      return -1;
    }
    *fields[i].value *= 1024;
  }
  return 0;
}
