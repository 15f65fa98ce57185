/* nbdkit-vram: mains or battery
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "power.h"
#include "root.h"

#define SUPPLIES "/sys/class/power_supply"

static bool
supply_text (const char *supply, const char *file, char *buf, size_t size)
{
  return read_text (root_path (SUPPLIES "/%s/%s", supply, file), buf, size) >
         0;
}

void
power_read (struct power *p)
{
  bool online = false, discharging = false;
  const struct dirent *entry;
  char text[32];
  int64_t n;
  DIR *dir = opendir (root_path (SUPPLIES));

  *p = (struct power){ .charge = -1 };
  if (!dir)
    return;
  while ((entry = readdir (dir)) != NULL) {
    const char *name = entry->d_name;

    if (name[0] == '.' || !supply_text (name, "type", text, sizeof text))
      continue;
    if (strcmp (text, "Battery") == 0) {
      /* A mouse's, a headset's. */
      if (supply_text (name, "scope", text, sizeof text) &&
          strcmp (text, "Device") == 0)
        continue;
      if (supply_text (name, "status", text, sizeof text) &&
          strcmp (text, "Discharging") == 0)
        discharging = true;
      if (read_number (root_path (SUPPLIES "/%s/capacity", name), &n) &&
          (p->charge == -1 || n < p->charge))
        p->charge = n;
    }
    else if (read_number (root_path (SUPPLIES "/%s/online", name), &n) &&
             n > 0)
      online = true;
  }
  closedir (dir);
  /* Any supply may be the one in use, and firmware may list only some, so one
   * that is offline says nothing.  A charger that is too weak is still mains.
   */
  p->on_battery = discharging && !online;
}
