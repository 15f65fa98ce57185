/* nbdkit-vram: parameters of the command line
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/log.h"
#include "disk/blockmap.h"
#include "parameters.h"

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
    log_error ("%s=%s: a percentage is more than 0 and at most 100", key,
               value);
    return -1;
  }
  return 0;

err:
  log_error ("%s=%s: cannot parse the percentage", key, value);
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
    log_error ("%s=%s is not a size; write it like 512M or 7G", key, value);
    return -1;
  }
  if ((uint64_t) r < min) {
    log_error ("%s=%s is too small: at least %" PRIu64 " bytes", key, value,
               min);
    return -1;
  }
  *bytes = (uint64_t) r;
  return 0;
}
