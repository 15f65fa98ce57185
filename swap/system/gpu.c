/* nbdkit-vram: what the NVIDIA driver tells about itself and its GPUs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "root.h"

#define DEVICES "/sys/bus/pci/devices"

void
gpu_init (struct gpu *g)
{
  *g = (struct gpu){ .total = -1,
                     .used = -1,
                     .free = -1,
                     .power_mw = -1,
                     .sm_mhz = -1,
                     .sm_max_mhz = -1,
                     .memory_mhz = -1,
                     .performance_state = -1,
                     .busy_percent = -1 };
}

void
gpu_load_text (const struct gpu *g, char *buf, size_t size)
{
  char watts[24] = "", sm[24] = "", memory[32] = "", state[16] = "";

  if (g->power_mw >= 0)
    snprintf (watts, sizeof watts, ", %d.%d W", g->power_mw / 1000,
              g->power_mw % 1000 / 100);
  if (g->sm_mhz >= 0)
    snprintf (sm, sizeof sm, ", SM %d MHz", g->sm_mhz);
  if (g->memory_mhz >= 0)
    snprintf (memory, sizeof memory, ", memory %d MHz", g->memory_mhz);
  if (g->performance_state >= 0)
    snprintf (state, sizeof state, ", P%d", g->performance_state);
  snprintf (buf, size, "%s%s%s%s", watts, sm, memory, state);
  /* Without the first comma. */
  if (buf[0])
    memmove (buf, buf + 2, strlen (buf + 2) + 1);
}

const char *
gpu_dumped (const char *dump, const char *key)
{
  static char value[600];
  size_t n = strlen (key);

  for (const char *line = dump; line; line = strchr (line, '\n')) {
    line += *line == '\n';
    if (strncmp (line, key, n) == 0 && line[n] == '=') {
      snprintf (value, sizeof value, "%.*s",
                (int) strcspn (line + n + 1, "\n"), line + n + 1);
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

  gpu_init (g);
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

  if (read_text (root_path ("/proc/driver/nvidia/params"), text,
                 sizeof text) <= 0)
    return -1;
  at = strstr (text, key);
  return at && atoi (at + sizeof key - 1) != 0;
}

bool
gpu_driver_can_rest (const char *version)
{
  unsigned major = 0, minor = 0, patch = 0;

  sscanf (version, "%u.%u.%u", &major, &minor, &patch);
  return major > 580 ||
         (major == 580 && (minor > 105 || (minor == 105 && patch >= 8)));
}

bool
gpu_is_wsl (void)
{
  return file_exists (root_path ("/dev/dxg"));
}

/* The path of FILE of the device at PCI, whose letters /sys has in lower case.
 */
static const char *
device_path (const char *pci, const char *file)
{
  char name[24];
  size_t i;

  snprintf (name, sizeof name, "%s", pci);
  for (i = 0; name[i]; i++)
    name[i] = tolower ((unsigned char) name[i]);
  return root_path (DEVICES "/%s/%s", name, file);
}

bool
gpu_power_state (const char *pci, char *buf, size_t size)
{
  return read_text (device_path (pci, "power/runtime_status"), buf, size) > 0;
}

bool
gpu_is_awake (const char *pci)
{
  char state[24];

  return !gpu_power_state (pci, state, sizeof state) ||
         strcmp (state, "active") == 0 || strcmp (state, "unsupported") == 0;
}

static bool
is_nvidia_gpu (const char *pci)
{
  char vendor[16], class[16];

  return read_text (device_path (pci, "vendor"), vendor, sizeof vendor) > 0 &&
         strcmp (vendor, "0x10de") == 0 &&
         read_text (device_path (pci, "class"), class, sizeof class) > 0 &&
         strncmp (class, "0x03", 4) == 0;
}

bool
gpu_find_asleep (char *pci, size_t size)
{
  const struct dirent *entry;
  bool found = false;
  DIR *dir = opendir (root_path (DEVICES));

  while (dir && !found && (entry = readdir (dir)) != NULL)
    if (entry->d_name[0] != '.' && is_nvidia_gpu (entry->d_name) &&
        !gpu_is_awake (entry->d_name)) {
      snprintf (pci, size, "%s", entry->d_name);
      found = true;
    }
  if (dir)
    closedir (dir);
  return found;
}

bool
gpu_drives_display (const char *pci, char *connector, size_t size)
{
  const size_t before = strlen (root_path (DEVICES "/"));
  char status[24], name[24], *end;
  bool found = false;
  glob_t files;

  if (glob (device_path (pci, "drm/card*/card*/status"), 0, NULL, &files) != 0)
    return false;
  for (size_t i = 0; i < files.gl_pathc && !found; i++) {
    char *path = files.gl_pathv[i];

    snprintf (name, sizeof name, "%.*s", (int) strcspn (path + before, "/"),
              path + before);
    if (!is_nvidia_gpu (name) ||
        read_text (path, status, sizeof status) <= 0 ||
        strcmp (status, "connected") != 0)
      continue;
    end = strrchr (path, '/');
    *end = '\0';
    snprintf (connector, size, "%s", strrchr (path, '/') + 1);
    found = true;
  }
  globfree (&files);
  return found;
}

int64_t
gpu_largest_bar (const char *pci)
{
  uint64_t start, end, flags, largest = 0;
  char text[4096], *line, *lines = text;

  if (read_text (device_path (pci, "resource"), text, sizeof text) <= 0)
    return -1;
  while ((line = strsep (&lines, "\n")) != NULL)
    if (sscanf (line, "%" SCNx64 " %" SCNx64 " %" SCNx64, &start, &end,
                &flags) == 3 &&
        end > start && end - start + 1 > largest)
      largest = end - start + 1;
  return largest > 0 ? (int64_t) largest : -1;
}
