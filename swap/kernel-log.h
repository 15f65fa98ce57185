/* nbdkit-vram: what the kernel has complained about
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_KERNEL_LOG_H
#define VRAM_SWAP_KERNEL_LOG_H

#include <stdbool.h>

/* What the kernel's log holds about one device, by who says it. */
struct kernel_log {
  long replies;     /* the nbd driver: the server answered with an error */
  long requests;    /* the block layer: a request failed */
  long pages;       /* swap and the page cache: a page could not be moved */
  long connections; /* the nbd driver: a connection is lost, late or odd */
};

/* Counts what the log still holds about /dev/nbdN since SINCE_MS of
 * CLOCK_BOOTTIME.  Returns false when it cannot be read.
 */
bool kernel_log_read (struct kernel_log *l, unsigned n, long long since_ms);

/* How many errors there were.  The same one is told of by each in turn, some of
 * whom fall silent when there are many, so it is the most that one tells of.
 * Lost connections are none: the requests wait and are sent again.
 */
long kernel_log_errors (const struct kernel_log *l);

/* Counts one record of /dev/kmsg; NUMBERS is "MAJOR:MINOR" of the device, or
 * "".  For the unit test.
 */
void kernel_log_add (struct kernel_log *l, const char *record, unsigned n,
                     const char *numbers, long long since_us);

#endif
