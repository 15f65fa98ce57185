/* nbdkit-vram: what vram-swap says to people
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
  output_flush ();
}

static int output_error; /* the first errno */

int
output_flush (void)
{
  if ((fflush (stdout) == EOF || ferror (stdout)) && output_error == 0)
    output_error = errno ? errno : EIO;
  return output_error == 0 ? 0 : -1;
}

static void
check_output (void)
{
  errno = 0;
  output_flush ();
  /* Some file systems tell only now.  Nothing was written to what is closed. */
  if (close (STDOUT_FILENO) == -1 && errno != EBADF && output_error == 0)
    output_error = errno;
  if (output_error == 0)
    return;
  /* Who closes a pipe has read enough. */
  if (output_error != EPIPE) {
    errno = output_error;
    error ("standard output: %m");
  }
  _exit (EXIT_FAILED);
}

void
output_check_at_exit (void)
{
  atexit (check_output);
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
