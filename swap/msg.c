/* nbdkit-vram: what vram-swap says to people
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "msg.h"

bool quiet;

static volatile sig_atomic_t caught;
static bool undisturbed;

static void
say (const char *severity, const char *fmt, va_list args)
{
  char line[1024];

  /* One write a line, so that lines of several processes stay whole. */
  vsnprintf (line, sizeof line, fmt, args);
  fflush (stdout);
  fprintf (stderr, "vram-swap: %s%s\n", severity, line);
}

void
error (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  say ("error: ", fmt, args);
  va_end (args);
}

void
warning (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  say ("warning: ", fmt, args);
  va_end (args);
}

void
note (const char *fmt, ...)
{
  va_list args;

  if (quiet)
    return;
  va_start (args, fmt);
  vprintf (fmt, args);
  va_end (args);
  putchar ('\n');
  fflush (stdout);
}

static void
catch_one (int sig)
{
  caught = sig;
}

void
catch_signal (int sig)
{
  /* No SA_RESTART: a wait must end when a signal comes. */
  struct sigaction action = { .sa_handler = catch_one };

  sigaction (sig, &action, NULL);
}

void
catch_signals (void)
{
  catch_signal (SIGINT);
  catch_signal (SIGTERM);
  catch_signal (SIGHUP);
  signal (SIGPIPE, SIG_IGN);
}

bool
interrupted (void)
{
  return caught != 0 && !undisturbed;
}

void
finish_undisturbed (void)
{
  undisturbed = true;
}

bool
was_interrupted (void)
{
  return caught != 0;
}
