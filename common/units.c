/* nbdkit-vram: sizes in bytes, rounded and printed
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <math.h>
#include <stdio.h>

#include "common/units.h"

const char *
size_text (uint64_t bytes, char buf[SIZE_TEXT])
{
  static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
  const unsigned last = sizeof units / sizeof units[0] - 1;
  double n = (double) bytes;
  unsigned unit = 0;

  while (n >= 1024 && unit < last) {
    n /= 1024;
    ++unit;
  }
  /* 7 GiB, but 6.5 GiB. */
  snprintf (buf, SIZE_TEXT, "%.*f %s", n == floor (n) ? 0 : 1, n, units[unit]);
  return buf;
}
