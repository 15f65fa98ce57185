/* nbdkit-vram: what status says of VRAM that comes and goes
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "capacity.h"
#include "disk/superblock.h"
#include "elastic.h"

/* What was given back and moved, as far as there was any. */
static void
print_elastic_past (const struct json_t *e)
{
  const int64_t trim = json_number_or_0 (e, "given_back_trim");
  const int64_t headroom = json_number_or_0 (e, "given_back_headroom");
  const int64_t limit = json_number_or_0 (e, "given_back_limit");

  if (trim + headroom + limit > 0)
    printf ("           given back: %s after trims, %s for headroom, %s for "
            "the limit; the longest took %" PRId64 " ms\n",
            human (trim), human (headroom), human (limit),
            (json_number_or_0 (e, "give_back_us_max") + 999) / 1000);
  if (json_number_or_0 (e, "moves_out") + json_number_or_0 (e, "moves_back") >
      0)
    printf (
        "           moves: %" PRId64 " to the spill file, %" PRId64 " back\n",
        json_number_or_0 (e, "moves_out"), json_number_or_0 (e, "moves_back"));
}

void
elastic_print (const struct json_t *e)
{
  const int64_t limit = json_number_or_0 (e, "limit");

  if (json_number_or_0 (e, "is") == ELASTIC_NO &&
      json_string_or_empty (e, "reason")[0])
    printf ("VRAM:      held from start to end: %s\n",
            json_string_or_empty (e, "reason"));
  if (json_number_or_0 (e, "is") != ELASTIC_YES)
    return;
  printf ("VRAM:      %s held, %s of it hold data",
          human (json_number_or_0 (e, "held")),
          human (json_number_or_0 (e, "slots")));
  if (limit >= 0 && limit != INT64_MAX)
    printf (", limit %s", human (limit));
  printf ("\n");
  if (json_number_or_0 (e, "spill_size") > 0)
    printf ("           spill file: %s of %s used\n",
            human (json_number_or_0 (e, "spilled")),
            human (json_number_or_0 (e, "spill_size")));
  else if (json_string_or_empty (e, "spill_reason")[0])
    printf ("           no spill file: %s\n",
            json_string_or_empty (e, "spill_reason"));
  print_elastic_past (e);
}

static void
add_text (struct json *j, const char *name, const char *text)
{
  if (text[0])
    json_add_string (j, name, text);
  else
    json_add_null (j, name);
}

/* The daemon's own numbers, but for what stands for a choice. */
void
elastic_print_json (struct json *j, const struct json_t *e)
{
  static const char *const names[] = {
    "held",
    "slots",
    "least",
    "spilled",
    "spill_size",
    "given_back_trim",
    "given_back_headroom",
    "given_back_limit",
    "moves_out",
    "moves_back",
    "give_back_us_max",
  };
  const int64_t limit = json_number_or_0 (e, "limit"),
                is = json_number_or_0 (e, "is");

  if (is != ELASTIC_YES && is != ELASTIC_NO) {
    json_add_null (j, "elastic");
    return;
  }
  json_add_object (j, "elastic");
  json_add_bool (j, "on", is == ELASTIC_YES);
  add_text (j, "reason", json_string_or_empty (e, "reason"));
  add_text (j, "spill_reason", json_string_or_empty (e, "spill_reason"));
  if (limit < 0 || limit == INT64_MAX)
    json_add_null (j, "limit");
  else
    json_add_number (j, "limit", limit);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    json_add_number (j, names[i], json_number_or_0 (e, names[i]));
  json_close (j);
}
