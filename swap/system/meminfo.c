/* nbdkit-vram: how much memory there is
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
      log_error ("%s: no %s found", path, fields[i].name);
      return -1;
    }
  m->strict =
      read_number (root_path ("/proc/sys/vm/overcommit_memory"), &mode) &&
      mode == 2;
  return 0;
}

/* The largest number of a list such as "(0, 3019, 18635)". */
static int64_t
largest (const char *list)
{
  int64_t n, most = 0;

  while (*list) {
    list += strcspn (list, "0123456789");
    n = strtoll (list, NULL, 10);
    if (n > most)
      most = n;
    list += strspn (list, "0123456789");
  }
  return most;
}

bool
meminfo_floor (int64_t *bytes)
{
  const char *path = root_path ("/proc/zoneinfo"), *line;
  int64_t pages = 0, boost = 0, min = 0, managed = 0, kept;
  bool found = false;
  struct lines l;
  char buf[4096];

  if (!lines_open (&l, path, buf, sizeof buf)) {
    log_error ("%s: %m", path);
    return false;
  }
  /* In each zone in this order. */
  while ((line = lines_next (&l)) != NULL) {
    line += strspn (line, " ");
    /* Linux 5.18 and newer; it is a part of min, for a while. */
    if (sscanf (line, "boost %" SCNd64, &boost) == 1 ||
        sscanf (line, "min %" SCNd64, &min) == 1 ||
        sscanf (line, "managed %" SCNd64, &managed) == 1)
      continue;
    if (strncmp (line, "protection:", 11) != 0)
      continue;
    kept = min - boost + largest (line + 11);
    found = true;
    pages += kept < managed ? kept : managed;
    boost = 0;
  }
  if (!found)
    log_error ("%s: no zones found", path);
  *bytes = pages * sysconf (_SC_PAGESIZE);
  return found;
}
