/* nbdkit-vram: runs a fuzzer's function on random inputs, without libFuzzer
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* Without arguments it tries as many random inputs as check_effort says, so
 * that make check runs the fuzzers' code under every tool.  Arguments are
 * files with one input each, such as those that libFuzzer leaves.
 */

#include <config.h>

#include <string.h>

#include "../unit/check.h"
#include "fuzz.h"

#define LONGEST 600
#define INPUTS  400

static uint8_t input[1024 * 1024];

static int
replay (const char *file)
{
  FILE *fp = fopen (file, "r");
  size_t n;

  if (fp == NULL) {
    perror (file);
    return -1;
  }
  n = fread (input, 1, sizeof input, fp);
  fclose (fp);
  printf ("%s: %zu bytes\n", file, n);
  LLVMFuzzerTestOneInput (input, n);
  return 0;
}

static void
test_random_inputs (void)
{
  struct rnd rnd;

  for (unsigned i = 0; i < check_effort (INPUTS); ++i) {
    size_t n;
    uint8_t *exact;

    rnd_begin (&rnd, i);
    n = rnd_below (&rnd, LONGEST);
    for (size_t b = 0; b < n; ++b)
      input[b] = (uint8_t) rnd_next (&rnd);
    /* Of exactly this length, so that tools see reads beyond the end. */
    exact = malloc (n ? n : 1);
    CHECK (exact != NULL);
    memcpy (exact, input, n);
    LLVMFuzzerTestOneInput (exact, n);
    free (exact);
  }
}

int
main (int argc, char *argv[])
{
  for (int i = 1; i < argc; ++i)
    if (replay (argv[i]) == -1)
      return EXIT_FAILURE;
  if (argc > 1)
    return EXIT_SUCCESS;
  check_begin (argc, argv);
  RUN (test_random_inputs);
  return check_end ();
}
