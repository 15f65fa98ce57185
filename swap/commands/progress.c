/* nbdkit-vram: shows how much of a job is left
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capacity.h"
#include "msg.h"
#include "progress.h"
#include "run.h"

#define EVERY_MS      10000
#define BAR_WIDTH     24
#define REDRAW_MS     200
#define MEANINGFUL_MS 1000 /* a rate of less time than this says nothing */

void
progress_text (const struct progress *p, int64_t left, long long ms,
               unsigned bar, char *buf, unsigned size)
{
  int64_t done = p->total - left, rate;
  double share = p->total > 0 ? (double) done / p->total : 1;
  unsigned full = share < 0 ? 0 : share * bar;
  char drawn[64] = "", tail[96] = "";

  if (bar > 0) {
    memset (drawn, '.', bar);
    memset (drawn, '#', full > bar ? bar : full);
    memcpy (drawn + bar, "  ", 3);
  }
  rate = ms >= MEANINGFUL_MS ? done * 1000 / ms : 0;
  if (rate > 0)
    snprintf (tail, sizeof tail, ", %s/s, about %" PRId64 " s left",
              human (rate), (left + rate / 2) / rate);
  snprintf (buf, size, "%s: %s%3.0f %%, %s left%s", p->what, drawn,
            share < 0 ? 0 : share * 100, human (left), tail);
}

void
progress_show (struct progress *p, const char *what, int64_t total,
               int64_t left)
{
  const bool terminal = isatty (STDOUT_FILENO);
  const long long now = now_ms ();
  char text[256];

  if (strcmp (p->what, what) != 0 || p->total != total) {
    *p = (struct progress){ .total = total, .started = now };
    snprintf (p->what, sizeof p->what, "%s", what);
    p->shown = now - EVERY_MS;
  }
  if (quiet || (now - p->shown < (terminal ? REDRAW_MS : EVERY_MS) &&
                !(terminal && left == 0)))
    return;
  p->shown = now;
  progress_text (p, left, now - p->started, terminal ? BAR_WIDTH : 0, text,
                 sizeof text);
  if (terminal)
    printf ("\r%s\033[K%s", text, left == 0 ? "\n" : "");
  else
    puts (text);
  fflush (stdout);
  if (left == 0)
    p->what[0] = '\0';
}
