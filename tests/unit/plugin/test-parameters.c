/* nbdkit-vram: tests of the plugin's parameters
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "nbdkit-stubs.h"
#include "parameters.h"

/* Each wrong value gives one error, with the parameter and its values. */
static void
test_wrong_values (void)
{
  static const struct {
    const char *key, *value, *message;
  } table[] = {
    { "scrub", "2", "scrub=2: it must be no or yes" },
    { "scrub", "auto", "scrub=auto: it must be no or yes" },
    { "scrub", "", "scrub=: it must be no or yes" },
    { "window", "maybe", "window=maybe: it must be auto, yes or no" },
    { "window", "auto ", "window=auto : it must be auto, yes or no" },
    { "handover", "aut", "handover=aut: it must be auto, yes or no" },
    { "store", "auto|yes", "store=auto|yes: it must be auto, yes or no" },
    { "resident", "require",
      "resident=require: it must be no, auto, yes or required" },
    { "allow", "root", "allow=root: it must be owner or any" },
    { "lanes", "two", "lanes=two: it must be a number from 1 to 64" },
    { "lanes", "0", "lanes=0: it must be a number from 1 to 64" },
    { "lanes", "65", "lanes=65: it must be a number from 1 to 64" },
    { "lanes", "-1", "lanes=-1: it must be a number from 1 to 64" },
    { "lanes", " 4", "lanes= 4: it must be a number from 1 to 64" },
    { "lanes", "4x", "lanes=4x: it must be a number from 1 to 64" },
    { "lanes", "18446744073709551617",
      "lanes=18446744073709551617: it must be a number from 1 to 64" },
    { "gpu-timeout", "3601",
      "gpu-timeout=3601: it must be a number from 1 to 3600" },
    { "staging", "8191", "staging=8191 is too small: at least 8 KiB" },
    { "staging", "65M", "staging=65M is too large: at most 64 MiB" },
    { "min-size", "1", "min-size=1 is too small: at least 4 KiB" },
    { "elastic", "auto", "elastic=auto: it must be no or yes" },
    { "limit", "1M", "limit=1M is too small: at least 2 MiB" },
    { "size", "x%",
      "size=x%: expected a percentage such as 80% or 12.5%, a size such as "
      "7G, or max" },
    { "sise", "7G", "unknown parameter 'sise'" },
    { "", "7G", "unknown parameter ''" },
  };

  for (size_t i = 0; i < sizeof table / sizeof table[0]; ++i) {
    stub_messages_clear ();
    CHECK_EQ (parameters_parse (table[i].key, table[i].value), -1);
    CHECK_EQ (stub_errors_count (), 1);
    CHECK_HOLDS (stub_errors (), table[i].message);
  }
  stub_messages_clear ();
  CHECK_EQ (parameters.copies.queues, 0);
  CHECK (parameters.scrub);
  CHECK (!parameters.min_size_set);
}

/* Earlier wrong values have no effect. */
static void
test_values (void)
{
  CHECK_EQ (parameters_check (), -1);
  CHECK_HOLDS (stub_errors (), "size= is missing");
  stub_messages_clear ();
  CHECK_EQ (parameters_parse ("size", "80%"), 0);
  CHECK_EQ (parameters_parse ("scrub", "Off"), 0);
  CHECK_EQ (parameters_parse ("window", "0"), 0);
  CHECK_EQ (parameters_parse ("resident", "required"), 0);
  CHECK_EQ (parameters_parse ("allow", "any"), 0);
  CHECK_EQ (parameters_parse ("store", "true"), 0);
  CHECK_EQ (parameters_parse ("lanes", "64"), 0);
  CHECK_EQ (parameters_parse ("gpu-timeout", "3600"), 0);
  CHECK_EQ (parameters_parse ("staging", "20K"), 0);
  CHECK_EQ (parameters_parse ("min-size", "4G"), 0);
  CHECK_EQ (parameters_parse ("device", ""), 0);
  CHECK_EQ (parameters_check (), 0);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_EQ (parameters.size.kind, SIZE_PERCENT);
  CHECK (!parameters.scrub);
  CHECK_EQ (parameters.copies.mapping, MAPPING_NO);
  CHECK_EQ (parameters.resident, MEMLOCK_REQUIRED);
  CHECK (parameters.allow_any);
  CHECK_EQ (parameters.handover, HANDOVER_YES);
  CHECK_EQ (parameters.copies.queues, 64);
  CHECK_EQ (parameters.gpu_timeout_ms, 3600000);
  CHECK_EQ (parameters.copies.staging, 16384);
  CHECK (parameters.min_size_set);
  CHECK (!parameters.copies.read_max_set);
}

/* A second value is an error, and the first one is kept. */
static void
test_given_twice (void)
{
  stub_messages_clear ();
  CHECK_EQ (parameters_parse ("size", "8G"), -1);
  CHECK_HOLDS (stub_errors (),
               "size=80% and size=8G: a parameter can be given only once");
  CHECK_EQ (parameters_parse ("lanes", "64"), -1);
  CHECK_EQ (stub_errors_count (), 2);
  CHECK_EQ (parameters.size.kind, SIZE_PERCENT);
  /* Each value has the name that it was given with. */
  CHECK_EQ (parameters_parse ("handover", "no"), -1);
  CHECK_HOLDS (stub_errors (), "store=true and handover=no: a parameter");
  CHECK_EQ (parameters.handover, HANDOVER_YES);
  stub_messages_clear ();
}

static void
test_combination (void)
{
  parameters.size = (struct size){ .kind = SIZE_BYTES, .bytes = GiB };
  CHECK_EQ (parameters_check (), -1);
  CHECK_HOLDS (stub_errors (), "min-size=4 GiB is more than size=1 GiB");
  parameters.adopt.wanted = true;
  CHECK_EQ (parameters_check (), 0);
  stub_messages_clear ();
}

/* Bash completion looks for lines that begin with NAME=. */
static void
test_help (void)
{
  CHECK_HOLDS (parameters_help, "size=SIZE|PERCENT%|max");
  CHECK_HOLDS (parameters_help, "\nscrub=no|yes ");
  CHECK_HOLDS (parameters_help, "\nadopt=FD:NAME,... ");
}

/* The defaults in the help are those of the code. */
static void
test_help_defaults (void)
{
  char words[80];

  snprintf (words, sizeof words, "DMA queue, default %juM\n",
            (uintmax_t) (STAGING_DEFAULT / MiB));
  CHECK_HOLDS (parameters_help, words);
  snprintf (words, sizeof words, "start with less, default %juM\n",
            (uintmax_t) (MIN_SIZE_DEFAULT / MiB));
  CHECK_HOLDS (parameters_help, words);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_wrong_values);
  RUN (test_values);
  RUN (test_given_twice);
  RUN (test_combination);
  RUN (test_help);
  RUN (test_help_defaults);
  return check_end ();
}
