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
#include <sys/socket.h>
#include <unistd.h>

#include "msg.h"

bool quiet;
void (*msg_sink) (enum severity severity, const char *line);

static volatile sig_atomic_t caught;
static bool undisturbed;

/* A journal that does not read must not stop the daemon. */
static void
put_line (const char *line, size_t n)
{
  if (send (STDERR_FILENO, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 &&
      errno == ENOTSOCK && write (STDERR_FILENO, line, n) == -1)
    return;
}

static void
say (enum severity severity, const char *fmt, va_list args)
{
  static const char *const words[] = {
    [SEVERITY_ERROR] = "error: ",
    [SEVERITY_WARNING] = "warning: ",
    [SEVERITY_NOTE] = "",
  };
  char text[900], line[1024];
  int n;

  /* One write a line, so that lines of several processes stay whole. */
  vsnprintf (text, sizeof text, fmt, args);
  if (msg_sink) {
    msg_sink (severity, text);
    return;
  }
  fflush (stdout);
  n = snprintf (line, sizeof line, "vram-swap: %s%s\n", words[severity], text);
  put_line (line, n);
}

void
msg_log (const char *fmt, ...)
{
  char text[900], line[1024];
  va_list args;

  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  put_line (line, snprintf (line, sizeof line, "vram-swap: %s\n", text));
}

void
error (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  say (SEVERITY_ERROR, fmt, args);
  va_end (args);
}

void
warning (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  say (SEVERITY_WARNING, fmt, args);
  va_end (args);
}

void
note (const char *fmt, ...)
{
  va_list args;

  va_start (args, fmt);
  if (msg_sink)
    say (SEVERITY_NOTE, fmt, args);
  else if (!quiet) {
    vprintf (fmt, args);
    putchar ('\n');
    output_flush ();
  }
  va_end (args);
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
  /* Some file systems tell only now.  Nothing was written to what is closed.
   */
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
