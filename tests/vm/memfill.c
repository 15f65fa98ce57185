/* nbdkit-vram: fills memory with a pattern and verifies it until told to stop
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * memfill MIB: fills, writes "filled" to stdout, then reads all of it back over
 * and over until SIGTERM, and exits with 0 when no word was ever wrong.
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

static void
on_term (int sig)
{
  (void) sig;
  stop = 1;
}

/* No two pages alike, and none that compresses. */
static uint64_t
word_at (uint64_t i)
{
  i = (i + 1) * UINT64_C (0x9e3779b97f4a7c15);
  i = (i ^ (i >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  return i ^ (i >> 27);
}

int
main (int argc, char **argv)
{
  size_t n = argc > 1 ? strtoull (argv[1], NULL, 10) << 17 : 0, wrong = 0;
  unsigned rounds = 0;
  uint64_t *words = n > 0 ? malloc (n * sizeof *words) : NULL;

  if (words == NULL) {
    fprintf (stderr, "memfill: wanted a number of MiB that fit\n");
    return 2;
  }
  signal (SIGTERM, on_term);
  for (size_t i = 0; i < n; i++)
    words[i] = word_at (i);
  printf ("filled\n");
  fflush (stdout);
  /* At least once to the end. */
  do {
    for (size_t i = 0; i < n && (rounds == 0 || !stop); i++)
      wrong += words[i] != word_at (i);
    rounds++;
  } while (!stop);
  printf ("%u rounds, %zu wrong words\n", rounds, wrong);
  free (words);
  return wrong != 0;
}
