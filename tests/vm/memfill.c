/* nbdkit-vram: fills memory with a pattern and verifies it until told to stop
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * memfill MIB [random|onward [repeating]]: fills its memory, writes "filled"
 * to stdout, reads the memory again and again until SIGTERM, and exits with 0
 * if no word was ever wrong.  With "random" it reads pages in random order,
 * and writes every eighth one anew, so that swapped pages change.  With
 * "repeating" the pages can be compressed, for zram.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_WORDS 512

static volatile sig_atomic_t stop;

static void
on_term (int sig)
{
  (void) sig;
  stop = 1;
}

static uint64_t repeated_after = PAGE_WORDS;

/* The word at index I. No two pages are the same. */
static uint64_t
word_at (uint64_t i)
{
  i = i / PAGE_WORDS * PAGE_WORDS + i % repeated_after;
  i = (i + 1) * UINT64_C (0x9e3779b97f4a7c15);
  i = (i ^ (i >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  return i ^ (i >> 27);
}

/* Counts the wrong words of PAGE, which was written WRITTEN times again. */
static size_t
wrong_words (const uint64_t *page, size_t first, uint64_t written)
{
  size_t wrong = 0;

  for (size_t i = 0; i < PAGE_WORDS; i++)
    wrong += page[i] != word_at (first + i) + written;
  return wrong;
}

int
main (int argc, char **argv)
{
  const bool random_order = argc > 2 && strcmp (argv[2], "random") == 0;
  const size_t pages = argc > 1 ? strtoull (argv[1], NULL, 10) << 8 : 0;
  uint64_t *words =
      pages > 0 ? calloc (pages * PAGE_WORDS, sizeof *words) : NULL;
  uint8_t *written = pages > 0 ? calloc (pages, 1) : NULL;
  size_t wrong = 0, reads = 0;
  uint64_t dice = 0;

  if (words == NULL || written == NULL) {
    fprintf (stderr, "memfill: cannot allocate '%s' MiB\n",
             argc > 1 ? argv[1] : "");
    free (words);
    free (written);
    return 2;
  }
  if (argc > 3 && strcmp (argv[3], "repeating") == 0)
    repeated_after = PAGE_WORDS / 16;
  signal (SIGTERM, on_term);
  for (size_t i = 0; i < pages * PAGE_WORDS; i++)
    words[i] = word_at (i);
  printf ("filled\n");
  fflush (stdout);
  for (size_t turn = 0; !stop; turn = (turn + 1) % pages) {
    const size_t n = random_order ? word_at (++dice) % pages : turn;
    uint64_t *page = words + n * PAGE_WORDS;

    wrong += wrong_words (page, n * PAGE_WORDS, written[n]);
    reads++;
    if (random_order && reads % 8 == 0) {
      written[n]++;
      for (size_t i = 0; i < PAGE_WORDS; i++)
        page[i] = word_at (n * PAGE_WORDS + i) + written[n];
    }
  }
  /* Each page must have been read at least once. */
  for (size_t n = random_order ? 0 : reads; n < pages; n++, reads++)
    wrong += wrong_words (words + n * PAGE_WORDS, n * PAGE_WORDS, written[n]);
  printf ("%zu pages read, %zu wrong words\n", reads, wrong);
  free (words);
  free (written);
  return wrong != 0;
}
