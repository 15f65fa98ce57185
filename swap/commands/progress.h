/* nbdkit-vram: shows how much of a job is left
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_PROGRESS_H
#define VRAM_SWAP_PROGRESS_H

#include <stdint.h>

/* What is shown.  Begin with zeros. */
struct progress {
  char what[16];
  int64_t total;            /* bytes */
  long long started, shown; /* ms */
};

/* LEFT of TOTAL bytes are still to be done.  On a terminal this is a bar that
 * is drawn over itself; elsewhere a line at first and then every 10 seconds.
 * Silent under --quiet.  Cheap enough to call often.
 */
void progress_show (struct progress *p, const char *what, int64_t total,
                    int64_t left);

/* The text of one state, for the unit test. */
void progress_text (const struct progress *p, int64_t left, long long ms,
                    unsigned bar, char *buf, unsigned size);

#endif
