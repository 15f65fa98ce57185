/* nbdkit-vram: what the unit tests of vram-swap share
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_TEST_H
#define VRAM_SWAP_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned failures;

/* A failure does not end the test, so that one run shows all of them. */
#define CHECK(what)                                                           \
  do {                                                                        \
    if (!(what)) {                                                            \
      fprintf (stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);   \
      failures++;                                                             \
    }                                                                         \
  } while (0)

#define FINISH return failures ? EXIT_FAILURE : EXIT_SUCCESS

/* A folder of the test's own, for files and as a root. */
static inline const char *
test_folder (void)
{
  static char folder[sizeof "test-folder.XXXXXX"];

  snprintf (folder, sizeof folder, "test-folder.XXXXXX");
  if (!mkdtemp (folder)) {
    perror ("mkdtemp");
    exit (EXIT_FAILURE);
  }
  return folder;
}

static inline void
test_write (const char *path, const char *text)
{
  FILE *fp = fopen (path, "w");

  if (!fp || fputs (text, fp) == EOF || fclose (fp) == EOF) {
    perror (path);
    exit (EXIT_FAILURE);
  }
}

#endif
