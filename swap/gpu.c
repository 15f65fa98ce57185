/* nbdkit-vram: what the NVIDIA driver tells about itself and its GPUs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "root.h"
#include "run.h"

/* One comma-separated field, blanks taken off. */
static char *
next_field (char **rest)
{
  char *field = strsep (rest, ","), *end;

  if (!field)
    return NULL;
  field += strspn (field, " ");
  end = field + strlen (field);
  while (end > field && end[-1] == ' ')
    *--end = '\0';
  return field;
}

static int64_t
mib (const char *text)
{
  char *end;
  long long n = strtoll (text, &end, 10);

  return end == text ? -1 : (int64_t) n << 20;
}

/* nvidia-smi writes a domain of eight digits, everybody else four. */
static const char *
short_pci (const char *pci)
{
  return strlen (pci) > 12 ? pci + strlen (pci) - 12 : pci;
}

bool
gpu_ask (struct gpu *g, const char *pci)
{
  const char *argv[] = {
    "nvidia-smi",
    "--query-gpu=pci.bus_id,name,memory.total,memory.used,memory.free,"
    "driver_version",
    "--format=csv,noheader,nounits", NULL
  };
  struct run r = { .limit = 5 };
  char *line, *lines = r.output, *f[6];

  *g = (struct gpu){ .total = -1, .used = -1, .free = -1 };
  if (run (&r, argv, NULL, NULL) == -1)
    return false;
  while ((line = strsep (&lines, "\n")) != NULL) {
    size_t n = 0;

    while (n < 6 && (f[n] = next_field (&line)) != NULL)
      n++;
    if (n < 6 || (pci && strcasecmp (short_pci (f[0]), short_pci (pci)) != 0))
      continue;
    g->known = true;
    snprintf (g->pci, sizeof g->pci, "%s", short_pci (f[0]));
    snprintf (g->name, sizeof g->name, "%s", f[1]);
    g->total = mib (f[2]);
    g->used = mib (f[3]);
    g->free = mib (f[4]);
    snprintf (g->driver, sizeof g->driver, "%s", f[5]);
    return true;
  }
  return false;
}

const char *
gpu_dumped (const char *dump, const char *key)
{
  static char value[600];
  size_t n = strlen (key);

  for (const char *line = dump; line; line = strchr (line, '\n')) {
    line += *line == '\n';
    if (strncmp (line, key, n) == 0 && line[n] == '=') {
      snprintf (value, sizeof value, "%.*s", (int) strcspn (line + n + 1, "\n"),
                line + n + 1);
      return value;
    }
  }
  return NULL;
}

static int64_t
dumped_bytes (const char *dump, const char *key)
{
  const char *value = gpu_dumped (dump, key);

  return value ? strtoll (value, NULL, 10) : -1;
}

bool
gpu_of_dump (struct gpu *g, const char *dump)
{
  static const char first[] = "vram_device_index=";
  char one[1024];
  const char *next, *value;

  *g = (struct gpu){ .total = -1, .used = -1, .free = -1 };
  for (dump = strstr (dump, first); dump; dump = next) {
    int64_t bytes_free;

    next = strstr (dump + 1, first);
    snprintf (one, sizeof one, "%.*s",
              (int) (next ? (size_t) (next - dump) : strlen (dump)), dump);
    bytes_free = dumped_bytes (one, "vram_device_memory_free");
    if (g->known && bytes_free <= g->free)
      continue;
    g->known = true;
    g->free = bytes_free;
    g->total = dumped_bytes (one, "vram_device_memory_total");
    value = gpu_dumped (one, "vram_device_name");
    snprintf (g->name, sizeof g->name, "%s", value ? value : "the GPU");
    value = gpu_dumped (one, "vram_device_pci");
    snprintf (g->pci, sizeof g->pci, "%s", value ? value : "");
  }
  return g->known;
}

bool
gpu_module_version (char *buf, size_t size)
{
  return read_text (root_path ("/sys/module/nvidia/version"), buf, size) > 0;
}

int
gpu_preserves (void)
{
  static const char key[] = "PreserveVideoMemoryAllocations:";
  char text[16384], *at;

  if (read_text (root_path ("/proc/driver/nvidia/params"), text, sizeof text) <=
      0)
    return -1;
  at = strstr (text, key);
  return at && atoi (at + sizeof key - 1) != 0;
}

bool
gpu_power_state (const char *pci, char *buf, size_t size)
{
  char name[24];
  size_t i;

  snprintf (name, sizeof name, "%s", pci);
  for (i = 0; name[i]; i++)
    name[i] = tolower ((unsigned char) name[i]);
  return read_text (
             root_path ("/sys/bus/pci/devices/%s/power/runtime_status", name),
             buf, size) > 0;
}

bool
gpu_find_pci (const char *text, char *pci, size_t size)
{
  static const char shape[] = "xxxx:xx:xx.x";
  size_t i;

  for (; strlen (text) >= sizeof shape - 1; text++) {
    for (i = 0; i < sizeof shape - 1; i++)
      if (shape[i] == 'x' ? !isxdigit ((unsigned char) text[i])
                          : text[i] != shape[i])
        break;
    if (i == sizeof shape - 1) {
      snprintf (pci, size, "%.12s", text);
      return true;
    }
  }
  return false;
}

int64_t
gpu_largest_bar (const char *pci)
{
  uint64_t start, end, flags, largest = 0;
  char text[4096], name[24], *line, *lines = text;

  snprintf (name, sizeof name, "%s", pci);
  for (size_t i = 0; name[i]; i++)
    name[i] = tolower ((unsigned char) name[i]);
  if (read_text (root_path ("/sys/bus/pci/devices/%s/resource", name), text,
                 sizeof text) <= 0)
    return -1;
  while ((line = strsep (&lines, "\n")) != NULL)
    if (sscanf (line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &start, &end,
                &flags) == 3 &&
        end > start && end - start + 1 > largest)
      largest = end - start + 1;
  return largest > 0 ? (int64_t) largest : -1;
}
