/* nbdkit-vram: shows how far something has come
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_PROGRESS_H
#define VRAM_SWAP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* A bar that is drawn over itself on a terminal; elsewhere a line at the
 * beginning and then every 10 seconds.  Silent under --quiet.
 */
struct progress {
  const char *what;
  const char *unit; /* "pages" */
  int64_t unit_size;
  int64_t total;     /* bytes */
  long long started; /* ms */
  long long shown;
  bool terminal;
};

void progress_begin (struct progress *p, const char *what, const char *unit,
                     int64_t unit_size, int64_t total);

/* LEFT bytes are still to be done.  Cheap enough to call often. */
void progress_show (struct progress *p, int64_t left);

/* Ends the line. */
void progress_end (struct progress *p, int64_t left);

/* The text of one state, for the unit test. */
void progress_text (const struct progress *p, int64_t left, long long ms,
                    unsigned bar, char *buf, unsigned size);

#endif
