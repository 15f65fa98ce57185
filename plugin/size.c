/* nbdkit-vram: what size= means on a GPU
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>

#include "common/log.h"
#include "disk/blockmap.h"
#include "size.h"

uint64_t
size_estimate (const struct size *size, uint64_t total)
{
  switch (size->kind) {
  case SIZE_PERCENT:
    return (uint64_t) ((double) total * size->percent / 100);
  case SIZE_BYTES:
    return size->bytes;
  case SIZE_MAX_FREE:
  case SIZE_UNSET:
    break;
  }
  return total;
}

int
size_resolve (const struct size *size, uint64_t total, uint64_t free,
              uint64_t headroom, uint64_t *bytes)
{
  uint64_t available = free > headroom ? free - headroom : 0, unit;

  if (size->kind == SIZE_PERCENT || size->kind == SIZE_BYTES)
    *bytes = size_estimate (size, total);
  else
    *bytes = available > SIZE_RESERVE ? available - SIZE_RESERVE : 0;
  if (*bytes > total) {
    log_error ("size=%s is more than the %s of VRAM that the GPU has; "
               "size=max takes all that is free, size=80%% a share",
               SIZE_STR (*bytes), SIZE_STR (total));
    return -1;
  }
  if (headroom > total) {
    log_error ("headroom=%s is more than the %s of VRAM that the GPU has",
               SIZE_STR (headroom), SIZE_STR (total));
    return -1;
  }
  /* A size in bytes has been checked by the parser. */
  if (*bytes < BLOCK_SIZE && size->kind == SIZE_PERCENT) {
    log_error ("the percentage of size= is too small: it makes %" PRIu64
               " bytes of the %s of VRAM that the GPU has, and at least %d "
               "bytes are needed",
               *bytes, SIZE_STR (total), BLOCK_SIZE);
    return -1;
  }
  /* Allocation rounds up, and must not exceed what is free. */
  unit = size->kind == SIZE_BYTES || *bytes < GRANULARITY ? BLOCK_SIZE
                                                          : GRANULARITY;
  *bytes = ROUND_DOWN (*bytes, unit);
  return 0;
}
