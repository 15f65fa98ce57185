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

void
capacity_compute (struct capacity *r, const struct meminfo *m,
                  const struct swaps *s, const char *device,
                  unsigned zram_ratio)
{
  int64_t zram = 0, gain;

  memset (r, 0, sizeof *r);
  /* Enough for the kernel's watermarks, and for the desktop to work. */
  r->reserve = m->total / 50;
  if (r->reserve < 64 * MIB)
    r->reserve = 64 * MIB;
  r->ram = m->available > r->reserve ? m->available - r->reserve : 0;

  for (size_t i = 0; i < s->n; i++) {
    const struct swap *swap = &s->swap[i];

    if (strcmp (swap->path, device) == 0) {
      r->need = swap->used;
      /* The kernel asks for the whole device at once, before it begins. */
      if (m->strict && m->committed + swap->size > m->commit_limit)
        r->overcommit = m->committed + swap->size - m->commit_limit;
    }
    else if (swap_is_zram (swap))
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

  r->fits = r->need <= capacity_total (r) && r->overcommit == 0;
}

void
capacity_explain (const struct capacity *r, const char *device, char *buf,
                  size_t size)
{
  if (r->need > capacity_total (r))
    snprintf (buf, size,
              "%s is swapped to %s, and only %s of it would fit elsewhere: "
              "%s in RAM (beyond %s that stay free), %s in other swap, %s by "
              "zram",
              human (r->need), device, human (capacity_total (r)),
              human (r->ram), human (r->reserve), human (r->disk),
              human (r->zram));
  else
    snprintf (buf, size,
              "vm.overcommit_memory is 2, and programs have reserved %s more "
              "than they may without %s (Committed_AS and CommitLimit in "
              "/proc/meminfo)",
              human (r->overcommit), device);
}

/* What all zram devices together store in one byte, times 100. */
static unsigned
measure_zram (const struct swaps *s)
{
  int64_t original = 0, used = 0, o, c, u;
  char text[256];

  for (size_t i = 0; i < s->n; i++) {
    if (!swap_is_zram (&s->swap[i]))
      continue;
    /* orig_data_size compr_data_size mem_used_total ... */
    if (read_text (root_path ("/sys/block/%s/mm_stat", s->swap[i].path + 5),
                   text, sizeof text) > 0 &&
        sscanf (text, "%" SCNd64 " %" SCNd64 " %" SCNd64, &o, &c, &u) == 3) {
      original += o;
      used += u;
    }
  }
  /* Too little to measure. */
  if (original < 64 * MIB || used <= 0)
    return ZRAM_RATIO;
  original = original * 100 / used;
  return original > 1000 ? 1000 : original;
}

int
capacity_read (struct capacity *r, const char *device, int64_t spare)
{
  struct meminfo m;
  struct swaps s;

  if (meminfo_read (&m) == -1 || swaps_read (&s) == -1)
    return -1;
  m.available += spare;
  capacity_compute (r, &m, &s, device, measure_zram (&s));
  return 0;
}

/* What is swapped and belongs to no process: files in memory.  An estimate
 * that is too small where processes share what they have swapped.
 */
static int64_t
swapped_files (int64_t processes)
{
  struct meminfo m;
  struct swaps s;
  int64_t n;

  /* Not SwapTotal and SwapFree, which leave out what swapoff is emptying. */
  if (meminfo_read (&m) == -1 || swaps_read (&s) == -1)
    return 0;
  n = -m.swap_cached - processes;
  for (size_t i = 0; i < s.n; i++)
    n += s.swap[i].used;
  return n > 0 ? n : 0;
}

int64_t
capacity_in_one_go (int64_t need, char *name)
{
  const struct dirent *entry;
  int64_t most = 0, all = 0, swapped;
  DIR *dir = opendir (root_path ("/proc"));

  name[0] = '\0';
  while (dir && (entry = readdir (dir)) != NULL) {
    const char *status;

    if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
      continue;
    status = root_path ("/proc/%s/status", entry->d_name);
    if (!read_field_kib (status, "VmSwap:", &swapped))
      continue;
    all += swapped;
    if (swapped <= most)
      continue;
    most = swapped;
    if (!read_field (status, "Name:", name, 16))
      name[0] = '\0';
    snprintf (name + strlen (name), 32 - strlen (name), " (%.12s)",
              entry->d_name);
  }
  if (dir)
    closedir (dir);
  swapped = swapped_files (all);
  if (swapped > most) {
    most = swapped;
    snprintf (name, 32, "files in memory (tmpfs)");
  }
  return most < need ? most : need;
}
