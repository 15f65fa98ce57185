/* nbdkit-vram: how often the server had gone, and for how long
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "msg.h"
#include "outage.h"
#include "root.h"

#define OUTAGES "/run/vram-swap.outages"
#define FORMAT(n)                                                             \
  "count=%" n "\nlast_ms=%" n "\nlongest_ms=%" n "\nlast_at=%" n "\n"

bool
outages_read (struct outages *o)
{
  char text[256];

  *o = (struct outages){ .count = 0 };
  /* The last line is not there when the disk is not known. */
  return read_text (root_path (OUTAGES), text, sizeof text) > 0 &&
         sscanf (text, FORMAT (SCNd64) "disk=%32[0-9a-f]", &o->count,
                 &o->last_ms, &o->longest_ms, &o->last_at, o->disk) >= 4;
}

void
outages_write (const struct outages *o)
{
  const char *path = root_path (OUTAGES);
  char text[256];

  snprintf (text, sizeof text, FORMAT (PRId64) "%s%s%s", o->count, o->last_ms,
            o->longest_ms, o->last_at, o->disk[0] ? "disk=" : "", o->disk,
            o->disk[0] ? "\n" : "");
  if (write_text (path, text) == -1)
    warning ("%s: %m", path);
}
