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
  const struct {
    const char *name;
    int64_t *value;
    bool required;
  } fields[] = {
    { "MemTotal:", &m->total, true },
    { "MemFree:", &m->free, true },
    { "MemAvailable:", &m->available, true },
    { "SwapTotal:", &m->swap_total, true },
    { "SwapFree:", &m->swap_free, true },
    { "SwapCached:", &m->swap_cached, false },
    { "CommitLimit:", &m->commit_limit, false },
    { "Committed_AS:", &m->committed, false },
  };
  const size_t n = sizeof fields / sizeof fields[0];
  const char *path = root_path ("/proc/meminfo"), *line;
  unsigned found = 0;
  struct lines l;
  char buf[4096];
  int64_t mode;

  *m = (struct meminfo){ .strict = false };
  if (!lines_open (&l, path, buf, sizeof buf)) {
    log_error ("%s: %m", path);
    return -1;
  }
  while ((line = lines_next (&l)) != NULL)
    for (size_t i = 0; i < n; i++) {
      const size_t length = strlen (fields[i].name);

      if (strncmp (line, fields[i].name, length) == 0 &&
          sscanf (line + length, "%" SCNd64 " kB", fields[i].value) == 1) {
        *fields[i].value *= 1024;
        found |= 1u << i;
      }
    }
  for (size_t i = 0; i < n; i++)
    if (fields[i].required && !(found & 1u << i)) {
      log_error ("%s: no %s in it", path, fields[i].name);
      return -1;
    }
  m->strict =
      read_number (root_path ("/proc/sys/vm/overcommit_memory"), &mode) &&
      mode == 2;
  return 0;
}
