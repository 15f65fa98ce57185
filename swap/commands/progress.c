/* nbdkit-vram: shows how far something has come
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
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
progress_begin (struct progress *p, const char *what, const char *unit,
                int64_t unit_size, int64_t total)
{
  *p = (struct progress){
    .what = what,
    .unit = unit,
    .unit_size = unit_size,
    .total = total,
    .started = now_ms (),
    .terminal = isatty (STDOUT_FILENO),
  };
  p->shown = p->started - EVERY_MS;
}

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
  snprintf (buf, size, "%s: %s%3.0f %%, %" PRId64 " %s (%s) left%s", p->what,
            drawn, share < 0 ? 0 : share * 100, left / p->unit_size, p->unit,
            human (left), tail);
}

void
progress_show (struct progress *p, int64_t left)
{
  long long now = now_ms ();
  char text[256];

  if (quiet || now - p->shown < (p->terminal ? REDRAW_MS : EVERY_MS))
    return;
  p->shown = now;
  progress_text (p, left, now - p->started, p->terminal ? BAR_WIDTH : 0, text,
                 sizeof text);
  if (p->terminal)
    printf ("\r%s\033[K", text);
  else
    printf ("%s\n", text);
  fflush (stdout);
}

void
progress_end (struct progress *p, int64_t left)
{
  if (quiet)
    return;
  if (p->terminal) {
    p->shown = 0;
    progress_show (p, left);
    putchar ('\n');
  }
  fflush (stdout);
}
