/* nbdkit-vram: tests of disk/spread
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdint.h>
#include <stdlib.h>

#include "check.h"
#include "disk/spread.h"

#define UNIT SPREAD_UNIT

static void
test_each_place_is_used_once (void)
{
  const uint64_t units[] = { 1, 31, 32, 33, 63, 64, 65, 192, 1000, 30720 };

  for (size_t k = 0; k < sizeof units / sizeof units[0]; ++k) {
    const struct spread spread = spread_of (units[k] * UNIT + 4096);
    char *used = calloc (units[k] + 1, 1);

    for (uint64_t i = 0; i <= units[k]; ++i) {
      const uint64_t place = spread_place (spread, i * UNIT + 100);

      CHECK_EQ (place % UNIT, 100);
      CHECK (place / UNIT <= units[k]);
      CHECK_EQ (used[place / UNIT], 0);
      used[place / UNIT] = 1;
    }
    /* A rest of less than a unit stays at the end. */
    CHECK_EQ (spread_place (spread, units[k] * UNIT), units[k] * UNIT);
    free (used);
  }
}

/* As mm/swapfile.c orders its list of free clusters. */
static void
test_linux_fills_one_slot_after_the_other (void)
{
  const struct spread spread = spread_of (100 * 32 * UNIT);
  uint64_t place = 0;

  for (uint64_t column = 0; column < 32; ++column)
    for (uint64_t i = 0; i < 100; ++i, place += UNIT)
      CHECK_EQ (spread_place (spread, (i * 32 + column) * UNIT), place);
}

/* These are part of the superblock's layout. */
static void
test_places_stay_where_they_are (void)
{
  const struct spread spread = spread_of (1 * GiB + 5 * MiB);

  CHECK_EQ (spread_place (spread, 0), 0);
  CHECK_EQ (spread_place (spread, 2 * MiB), 32 * MiB);
  CHECK_EQ (spread_place (spread, 64 * MiB + 1), 2 * MiB + 1);
  CHECK_EQ (spread_place (spread, 1022 * MiB), 1022 * MiB);
  CHECK_EQ (spread_place (spread, 1025 * MiB), 1025 * MiB);
}

static void
test_runs_end_with_a_unit (void)
{
  const struct spread spread = spread_of (1 * GiB), none = { 0 };

  CHECK_EQ (spread_run (spread, 4096, 8192), 8192);
  CHECK_EQ (spread_run (spread, 4096, 4 * MiB), 2 * MiB - 4096);
  CHECK_EQ (spread_run (none, 4096, 4 * MiB), 4 * MiB);
}

int
main (int argc, char **argv)
{
  check_begin (argc, argv);
  RUN (test_each_place_is_used_once);
  RUN (test_linux_fills_one_slot_after_the_other);
  RUN (test_places_stay_where_they_are);
  RUN (test_runs_end_with_a_unit);
  return check_end ();
}
