/* nbdkit-vram: would what is swapped to VRAM fit elsewhere?
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "capacity.h"
#include "root.h"

#define MIB (INT64_C (1) << 20)

/* zram's usual ratio, where nothing has been stored yet to measure it. */
#define ZRAM_RATIO 200

const char *
human (int64_t bytes)
{
  static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
  static char buf[8][24];
  static unsigned next;
  char *s = buf[next++ % 8];
  double n = bytes;
  unsigned u = 0;

  while (u < 4 && (n >= 1024 || n <= -1024)) {
    n /= 1024;
    u++;
  }
  snprintf (s, sizeof buf[0], u < 2 || n >= 100 ? "%.0f %s" : "%.1f %s", n,
            units[u]);
  return s;
}

int64_t
capacity_total (const struct capacity *r)
{
  return r->ram + r->disk + r->zram;
}

static bool
is_zram (const char *path)
{
  return strncmp (path, "/dev/zram", 9) == 0;
}

void
capacity_compute (struct capacity *r, const struct meminfo *m,
                  const struct swaps *s, const char *device,
                  unsigned zram_ratio)
{
  int64_t zram = 0, gain;

  memset (r, 0, sizeof *r);
  /* Enough for the kernel's own watermarks and for the desktop to go on. */
  r->reserve = m->total / 50;
  if (r->reserve < 64 * MIB)
    r->reserve = 64 * MIB;
  r->ram = m->available > r->reserve ? m->available - r->reserve : 0;

  for (size_t i = 0; i < s->n; i++) {
    const struct swap *swap = &s->swap[i];

    if (strcmp (swap->path, device) == 0)
      r->need = swap->used;
    else if (is_zram (swap->path))
      zram += swap->size - swap->used;
    else
      r->disk += swap->size - swap->used;
  }

  if (zram_ratio < 100)
    zram_ratio = 100;
  /* Of x bytes moved there x / ratio stay in RAM; x is bounded by zram's size
   * and by the RAM that there is for them.
   */
  gain = zram / 100 * (zram_ratio - 100) / zram_ratio * 100;
  if (gain > r->ram / 100 * (zram_ratio - 100))
    gain = r->ram / 100 * (zram_ratio - 100);
  r->zram = gain;

  r->fits = r->need <= capacity_total (r);
}

/* What all zram devices together store in one byte, times 100. */
static unsigned
measure_zram (const struct swaps *s)
{
  int64_t original = 0, used = 0, o, c, u;
  char text[256];

  for (size_t i = 0; i < s->n; i++) {
    if (!is_zram (s->swap[i].path))
      continue;
    /* orig_data_size compr_data_size mem_used_total ... */
    if (read_text (root_path ("/sys/block/%s/mm_stat", s->swap[i].path + 5),
                   text, sizeof text) > 0 &&
        sscanf (text, "%" SCNd64 " %" SCNd64 " %" SCNd64, &o, &c, &u) == 3) {
      original += o;
      used += u;
    }
  }
  /* Too little to be a measure. */
  if (original < 64 * MIB || used <= 0)
    return ZRAM_RATIO;
  original = original * 100 / used;
  return original > 1000 ? 1000 : original;
}

int
capacity_read (struct capacity *r, const char *device)
{
  struct meminfo m;
  struct swaps s;

  if (meminfo_read (&m) == -1 || swaps_read (&s) == -1)
    return -1;
  capacity_compute (r, &m, &s, device, measure_zram (&s));
  return 0;
}

int64_t
capacity_in_one_go (int64_t need, char *name)
{
  const struct dirent *entry;
  int64_t most = 0, swapped;
  char text[4096], *at;
  DIR *dir = opendir (root_path ("/proc"));

  name[0] = '\0';
  while (dir && (entry = readdir (dir)) != NULL) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
        read_text (root_path ("/proc/%s/status", entry->d_name), text,
                   sizeof text) <= 0)
      continue;
    at = strstr (text, "\nVmSwap:");
    if (!at || sscanf (at, "\nVmSwap: %" SCNd64, &swapped) != 1 ||
        swapped * 1024 <= most)
      continue;
    most = swapped * 1024;
    if (sscanf (text, "Name: %15s", name) != 1)
      name[0] = '\0';
    snprintf (name + strlen (name), 32 - strlen (name), " (%.12s)",
              entry->d_name);
  }
  if (dir)
    closedir (dir);
  return most < need ? most : need;
}
