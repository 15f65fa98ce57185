/* nbdkit-vram: the framework of the unit tests
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int filter_count;
static char **filter;
static const char *_Atomic running = "(none)";
static unsigned tests;
static uint64_t seed;

static void
too_long (int signal)
{
  static const char words[] = ": the test took too long\n";
  const char *name = running;
  ssize_t r;

  (void) signal;
  r = write (2, name, strlen (name));
  r += write (2, words, sizeof words - 1);
  (void) r;
  /* A core, or a debugger, shows where. */
  abort ();
}

void
check_begin (int argc, char *argv[])
{
  const char *s = getenv ("VRAM_SEED");
  struct timespec ts;

  filter_count = argc - 1;
  filter = argv + 1;
  clock_gettime (CLOCK_REALTIME, &ts);
  seed = s ? strtoull (s, NULL, 0)
           : ((uint64_t) ts.tv_sec * 1000000007 + (uint64_t) ts.tv_nsec) %
                 1000000000;
  signal (SIGALRM, too_long);
  setvbuf (stdout, NULL, _IOLBF, 0);
  printf ("VRAM_SEED=%" PRIu64 "\n", seed);
}

bool
check_wanted (const char *name)
{
  bool wanted = filter_count == 0;

  for (int i = 0; i < filter_count; ++i)
    if (strstr (name, filter[i]))
      wanted = true;
  if (!wanted)
    return false;
  running = name;
  ++tests;
  printf ("%s\n", name);
  check_within (CHECK_SECONDS);
  return true;
}

void
check_alone (void (*fn) (void))
{
  pid_t pid = fork ();
  int status;

  if (pid == 0) {
    check_within (CHECK_SECONDS);
    fn ();
    exit (EXIT_SUCCESS);
  }
  if (pid == -1 || waitpid (pid, &status, 0) != pid)
    check_fail (__FILE__, __LINE__, "fork: %m");
  if (status != 0)
    check_fail (__FILE__, __LINE__, "its process ended with status %#x",
                (unsigned) status);
}

/* A factor from the environment, or 1. */
static unsigned
factor (const char *name)
{
  const char *s = getenv (name);
  unsigned long n = s ? strtoul (s, NULL, 10) : 1;

  return n > 1 && n < 1000 ? (unsigned) n : 1;
}

void
check_within (unsigned seconds)
{
  alarm (seconds * factor ("VRAM_TEST_SLOW"));
}

int
check_end (void)
{
  alarm (0);
  if (tests == 0) {
    fprintf (stderr, "no test's name contains the argument\n");
    return EXIT_FAILURE;
  }
  printf ("%u tests passed\n", tests);
  return EXIT_SUCCESS;
}

void
check_fail (const char *file, int line, const char *fmt, ...)
{
  va_list args;

  fflush (stdout);
  flockfile (stderr);
  fprintf (stderr, "%s:%d: %s: ", file, line, running);
  va_start (args, fmt);
  vfprintf (stderr, fmt, args);
  va_end (args);
  fprintf (stderr, "\n%s:%d: repeat with VRAM_SEED=%" PRIu64 "\n", file, line,
           seed);
  funlockfile (stderr);
  /* Not exit: other threads may be running. */
  _exit (EXIT_FAILURE);
}

void
check_str (const char *file, int line, const char *what, const char *a,
           const char *b)
{
  if (strcmp (a, b) != 0)
    check_fail (file, line, "%s is \"%s\", not \"%s\"", what, a, b);
}

void
check_holds (const char *file, int line, const char *what, const char *a,
             const char *b)
{
  if (strstr (a, b) == NULL)
    check_fail (file, line, "%s is \"%s\", which lacks \"%s\"", what, a, b);
}

uint64_t
check_seed (void)
{
  return seed;
}

void
rnd_begin (struct rnd *rnd, uint64_t number)
{
  rnd->state = seed * 1000003 + number;
  for (unsigned i = 0; i < 4; ++i)
    rnd_next (rnd);
}

/* A linear congruential generator modulo 2^64 with Knuth's multiplier.  Its
 * low bits are poor, so they are mixed with the high ones.
 */
uint64_t
rnd_next (struct rnd *rnd)
{
  uint64_t x;

  rnd->state = rnd->state * 6364136223846793005 + 1442695040888963407;
  x = rnd->state ^ (rnd->state >> 31);
  x *= 0x5851f42d4c957f2d | 1;
  return x ^ (x >> 29);
}

unsigned
check_effort (unsigned n)
{
  n /= factor ("VRAM_TEST_PART");
  return n > 0 ? n : 1;
}
