/* nbdkit-vram: sizes as users write them and as messages show them
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "blockmap.h"
#include "size.h"

/* Parse "80%" or "12.5%" into *PERCENT. */
static int
parse_percent (const char *key, const char *value, double *percent)
{
  char *end;

  /* Only digits and a point: strtod takes "inf", "0x10" and spaces too. */
  if (strspn (value, "0123456789.") + 1 != strlen (value))
    goto err;
  errno = 0;
  *percent = strtod (value, &end);
  if (errno || end == value || strcmp (end, "%") != 0)
    goto err;
  if (!(*percent > 0 && *percent <= 100)) {
    nbdkit_error ("%s=%s: a percentage is more than 0 and at most 100", key,
                  value);
    return -1;
  }
  return 0;

err:
  nbdkit_error ("%s=%s: cannot parse the percentage", key, value);
  return -1;
}

int
size_parse (const char *key, const char *value, struct size *size)
{
  size_t len = strlen (value);

  if (strcmp (value, "max") == 0) {
    size->kind = SIZE_MAX_FREE;
    return 0;
  }
  if (len > 0 && value[len - 1] == '%') {
    if (parse_percent (key, value, &size->percent) == -1)
      return -1;
    size->kind = SIZE_PERCENT;
    return 0;
  }
  if (size_parse_bytes (key, value, BLOCK_SIZE, &size->bytes) == -1)
    return -1;
  size->kind = SIZE_BYTES;
  return 0;
}

int
size_parse_bytes (const char *key, const char *value, uint64_t min,
                  uint64_t *bytes)
{
  int64_t r;

  r = nbdkit_parse_size (value);
  if (r == -1) {
    nbdkit_error ("%s=%s is not a size; write it like 512M or 7G", key, value);
    return -1;
  }
  if ((uint64_t) r < min) {
    nbdkit_error ("%s=%s is too small: at least %" PRIu64 " bytes", key, value,
                  min);
    return -1;
  }
  *bytes = (uint64_t) r;
  return 0;
}

int
size_resolve (const struct size *size, uint64_t total, uint64_t free,
              uint64_t headroom, uint64_t *bytes)
{
  uint64_t available = free > headroom ? free - headroom : 0, unit;

  switch (size->kind) {
  case SIZE_PERCENT:
    *bytes = (uint64_t) ((double) total * size->percent / 100);
    break;
  case SIZE_BYTES:
    *bytes = size->bytes;
    break;
  case SIZE_MAX_FREE:
  case SIZE_UNSET:
    *bytes = available > SIZE_RESERVE ? available - SIZE_RESERVE : 0;
    break;
  }
  if (*bytes > total) {
    nbdkit_error ("size=%s is more than the %s of VRAM that the GPU has; "
                  "size=max takes all that is free, size=80%% a share",
                  SIZE_STR (*bytes), SIZE_STR (total));
    return -1;
  }
  /* Of bytes this is known before there is a GPU to take a share of. */
  if (*bytes < BLOCK_SIZE && size->kind == SIZE_PERCENT) {
    nbdkit_error ("the percentage of size= is too small: it makes %" PRIu64
                  " bytes of the %s of VRAM that the GPU has, and at least %d "
                  "bytes are needed",
                  *bytes, SIZE_STR (total), BLOCK_SIZE);
    return -1;
  }
  /* Allocation rounds up, which must not be beyond what is free. */
  unit = size->kind == SIZE_BYTES || *bytes < GRANULARITY ? BLOCK_SIZE
                                                          : GRANULARITY;
  *bytes = ROUND_DOWN (*bytes, unit);
  return 0;
}

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
  /* No digits that say nothing: 7 GiB, but 6.5 GiB. */
  snprintf (buf, SIZE_TEXT, "%.*f %s", n == floor (n) ? 0 : 1, n, units[unit]);
  return buf;
}
