/* nbdkit-vram: tests of sizes in parameters and in messages
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "nbdkit-stubs.h"
#include "parameters.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

static void
test_parse (void)
{
  static const struct {
    const char *value;
    int kind; /* -1: refused */
    uint64_t bytes;
    double percent;
  } table[] = {
    { "max", SIZE_MAX_FREE, 0, 0 },
    { "4096", SIZE_BYTES, 4096, 0 },
    { "4095", -1, 0, 0 },
    { "4K", SIZE_BYTES, 4096, 0 },
    { "3K", -1, 0, 0 },
    { "8s", SIZE_BYTES, 4096, 0 },
    { "7s", -1, 0, 0 },
    { "7G", SIZE_BYTES, 7 * GiB, 0 },
    { "7g", SIZE_BYTES, 7 * GiB, 0 },
    { "5000", SIZE_BYTES, 5000, 0 },
    { "7E", SIZE_BYTES, 7 * GiB * GiB, 0 },
    { "8E", -1, 0, 0 },
    { "9223372036854775807", SIZE_BYTES, INT64_MAX, 0 },
    { "9223372036854775808", -1, 0, 0 },
    { "99999999999999999999999", -1, 0, 0 },
    { "80%", SIZE_PERCENT, 0, 80 },
    { "100%", SIZE_PERCENT, 0, 100 },
    { "100.0%", SIZE_PERCENT, 0, 100 },
    { "12.5%", SIZE_PERCENT, 0, 12.5 },
    { ".5%", SIZE_PERCENT, 0, 0.5 },
    { "1.%", SIZE_PERCENT, 0, 1 },
    { "0%", -1, 0, 0 },
    { "0.0%", -1, 0, 0 },
    { "100.1%", -1, 0, 0 },
    { "101%", -1, 0, 0 },
    { "-5%", -1, 0, 0 },
    { "+5%", -1, 0, 0 },
    { "5 %", -1, 0, 0 },
    { " 5%", -1, 0, 0 },
    { "5%%", -1, 0, 0 },
    { "%", -1, 0, 0 },
    { ".%", -1, 0, 0 },
    { "1.2.3%", -1, 0, 0 },
    { "inf%", -1, 0, 0 },
    { "nan%", -1, 0, 0 },
    { "0x10%", -1, 0, 0 },
    { "1e1%", -1, 0, 0 },
    { "80%x", -1, 0, 0 },
    { "", -1, 0, 0 },
    { "0", -1, 0, 0 },
    { "-1", -1, 0, 0 },
    { "-7G", -1, 0, 0 },
    { "Max", -1, 0, 0 },
    { "max ", -1, 0, 0 },
    { "many", -1, 0, 0 },
    { "7GB", -1, 0, 0 },
    { "7 G", -1, 0, 0 },
    { "1.5G", -1, 0, 0 },
  };

  for (size_t i = 0; i < COUNT (table); ++i) {
    struct size size = { .kind = SIZE_UNSET };
    int r;

    stub_messages_clear ();
    r = size_parse ("size", table[i].value, &size);
    if (r != (table[i].kind == -1 ? -1 : 0) ||
        (r == 0 && (int) size.kind != table[i].kind))
      check_fail (__FILE__, __LINE__, "size=%s: %d, kind %d", table[i].value,
                  r, (int) size.kind);
    if (r == -1) {
      char named[64];

      /* The message has the parameter and its value. */
      snprintf (named, sizeof named, "size=%s", table[i].value);
      CHECK_HOLDS (stub_errors (), named);
      CHECK_EQ (size.kind, SIZE_UNSET);
      continue;
    }
    CHECK_EQ (stub_errors_count (), 0);
    if (size.kind == SIZE_BYTES)
      CHECK_EQ (size.bytes, table[i].bytes);
    if (size.kind == SIZE_PERCENT &&
        (size.percent < table[i].percent || size.percent > table[i].percent))
      check_fail (__FILE__, __LINE__, "%s: %g", table[i].value, size.percent);
  }
}

static void
test_parse_bytes (void)
{
  uint64_t bytes = 77;

  stub_messages_clear ();
  CHECK_EQ (size_parse_bytes ("headroom", "0", 0, UINT64_MAX, &bytes), 0);
  CHECK_EQ (bytes, 0);
  CHECK_EQ (size_parse_bytes ("staging", "8K", 8192, UINT64_MAX, &bytes), 0);
  CHECK_EQ (bytes, 8192);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_EQ (size_parse_bytes ("staging", "8191", 8192, UINT64_MAX, &bytes),
            -1);
  CHECK_HOLDS (stub_errors (), "staging=8191");
  CHECK_EQ (size_parse_bytes ("headroom", "-1", 0, UINT64_MAX, &bytes), -1);
  CHECK_HOLDS (stub_errors (), "headroom=-1");
  CHECK_EQ (size_parse_bytes ("headroom", "50%", 0, UINT64_MAX, &bytes), -1);
  CHECK_EQ (size_parse_bytes ("headroom", "max", 0, UINT64_MAX, &bytes), -1);
  CHECK_EQ (bytes, 8192);
}

static void
test_resolve (void)
{
  static const struct {
    struct size size;
    uint64_t total, free, headroom;
    int r;
    uint64_t bytes;
  } table[] = {
    { { SIZE_BYTES, 7 * GiB, 0 }, 8 * GiB, 8 * GiB, 0, 0, 7 * GiB },
    /* Free VRAM does not limit the size that is asked for. */
    { { SIZE_BYTES, 7 * GiB, 0 }, 8 * GiB, GiB, GiB, 0, 7 * GiB },
    { { SIZE_BYTES, 8 * GiB, 0 }, 8 * GiB, 0, 0, 0, 8 * GiB },
    { { SIZE_BYTES, 8 * GiB + 1, 0 }, 8 * GiB, 8 * GiB, 0, -1, 0 },
    { { SIZE_BYTES, INT64_MAX, 0 }, 8 * GiB, 8 * GiB, 0, -1, 0 },
    { { SIZE_BYTES, 4096, 0 }, 8 * GiB, 0, 0, 0, 4096 },
    { { SIZE_BYTES, 8191, 0 }, 8 * GiB, 0, 0, 0, 4096 },
    { { SIZE_BYTES, 8192, 0 }, 8 * GiB, 0, 0, 0, 8192 },
    { { SIZE_PERCENT, 0, 50 }, 8 * GiB, 0, 0, 0, 4 * GiB },
    { { SIZE_PERCENT, 0, 100 }, 8 * GiB, 0, 0, 0, 8 * GiB },
    { { SIZE_PERCENT, 0, 100 }, 8 * GiB + 100, 0, 0, 0, 8 * GiB },
    { { SIZE_PERCENT, 0, 12.5 }, 8 * GiB, 0, 0, 0, GiB },
    { { SIZE_PERCENT, 0, 0.00005 }, 8 * GiB, 0, 0, 0, 4096 },
    { { SIZE_PERCENT, 0, 33.3 }, 62 * MiB, 0, 0, 0, 20 * MiB },
    { { SIZE_PERCENT, 0, 0.000047 }, 8 * GiB, 0, 0, -1, 0 },
    { { SIZE_PERCENT, 0, 0.000001 }, 8 * GiB, 0, 0, -1, 0 },
    { { SIZE_PERCENT, 0, 1e-300 }, 8 * GiB, 8 * GiB, GiB, -1, 0 },
    { { SIZE_MAX_FREE, 0, 0 },
      8 * GiB,
      6 * GiB + 5,
      0,
      0,
      6 * GiB - 32 * MiB },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, GiB - 4096, 0, 0, GiB - 34 * MiB },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 33 * MiB + 5, 0, 0, MiB },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 32 * MiB, 0, 0, 0 },
    { { SIZE_BYTES, GiB + 8191, 0 }, 8 * GiB, 0, 0, 0, GiB + 4096 },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 6 * GiB, GiB, 0, 5 * GiB - 32 * MiB },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 6 * GiB, 6 * GiB, 0, 0 },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 6 * GiB, 7 * GiB, 0, 0 },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 6 * GiB, 8 * GiB, 0, 0 },
    { { SIZE_MAX_FREE, 0, 0 }, 8 * GiB, 6 * GiB, 8 * GiB + 1, -1, 0 },
    { { SIZE_BYTES, GiB, 0 }, 8 * GiB, 6 * GiB, 7 * GiB * GiB, -1, 0 },
    { { SIZE_PERCENT, 0, 50 }, 8 * GiB, 6 * GiB, 7 * GiB * GiB, -1, 0 },
    { { SIZE_UNSET, 0, 0 }, 8 * GiB, 6 * GiB, GiB, 0, 5 * GiB - 32 * MiB },
  };

  for (size_t i = 0; i < COUNT (table); ++i) {
    uint64_t bytes = 1;
    int r;

    stub_messages_clear ();
    r = size_resolve (&table[i].size, table[i].total, table[i].free,
                      table[i].headroom, &bytes);
    if (r != table[i].r || (r == 0 && bytes != table[i].bytes))
      check_fail (__FILE__, __LINE__, "row %zu: %d, %" PRIu64 " bytes", i, r,
                  bytes);
    CHECK_EQ (stub_errors_count (), r == 0 ? 0 : 1);
  }
  stub_messages_clear ();
  size_resolve (&(struct size){ SIZE_BYTES, 9 * GiB, 0 }, 8 * GiB, 0, 0,
                &(uint64_t){ 0 });
  CHECK_HOLDS (stub_errors (), "9 GiB");
  CHECK_HOLDS (stub_errors (), "8 GiB");
  stub_messages_clear ();
  size_resolve (&(struct size){ SIZE_PERCENT, 0, 0.000001 }, 8 * GiB, 0, 0,
                &(uint64_t){ 0 });
  CHECK_HOLDS (stub_errors (), "size= is too small: it makes 85 bytes of the "
                               "8 GiB");
  CHECK_HOLDS (stub_errors (), "at least 4096 bytes");
}

static void
test_text (void)
{
  static const struct {
    uint64_t bytes;
    const char *text;
  } table[] = {
    { 0, "0 bytes" },          { 1, "1 bytes" },
    { 1023, "1023 bytes" },    { 1024, "1 KiB" },
    { 1536, "1.5 KiB" },       { 4096, "4 KiB" },
    { MiB - 1, "1024.0 KiB" }, { MiB, "1 MiB" },
    { 7 * GiB, "7 GiB" },      { 6 * GiB + 512 * MiB, "6.5 GiB" },
    { 1024 * GiB, "1 TiB" },   { UINT64_MAX, "16777216 TiB" },
  };

  for (size_t i = 0; i < COUNT (table); ++i)
    CHECK_STR (SIZE_STR (table[i].bytes), table[i].text);
}

static void
test_round (void)
{
  CHECK_EQ (ROUND_DOWN (4095, 4096), 0);
  CHECK_EQ (ROUND_DOWN (4096, 4096), 4096);
  CHECK_EQ (ROUND_UP (0, 4096), 0);
  CHECK_EQ (ROUND_UP (1, 4096), 4096);
  CHECK_EQ (ROUND_UP (4096, 4096), 4096);
  CHECK_EQ (ROUND_UP (4097, 2 * MiB), 2 * MiB);
  CHECK_EQ (ROUND_DOWN (5 * GiB + 1, GiB), 5 * GiB);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_parse);
  RUN (test_parse_bytes);
  RUN (test_resolve);
  RUN (test_text);
  RUN (test_round);
  return check_end ();
}
