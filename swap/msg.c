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

static volatile sig_atomic_t caught;
static bool undisturbed;
static int output_error; /* the first errno */

void
msg_to_stderr (enum log_level level, const char *line)
{
  char text[1024];
  /* One write a line, so that lines of several processes stay whole. */
  const int n =
      snprintf (text, sizeof text, "vram-swap: %s%s%s\n",
                level == LOG_LEVEL_INFO ? "" : log_level_name (level),
                level == LOG_LEVEL_INFO ? "" : ": ", line);

  if (send (STDERR_FILENO, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 &&
      errno == ENOTSOCK && write (STDERR_FILENO, text, n) == -1)
    return;
}

void
msg_to_user (enum log_level level, const char *format, va_list args)
{
  const int saved = errno;
  char line[900];

  vsnprintf (line, sizeof line, format, args);
  if (level == LOG_LEVEL_INFO && !quiet)
    puts (line);
  output_flush ();
  if (level < LOG_LEVEL_INFO)
    msg_to_stderr (level, line);
  errno = saved;
}

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
  /* A reader that closes the pipe has read enough. */
  if (output_error != EPIPE) {
    errno = output_error;
    log_error ("standard output: %m");
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
catch_signals (void)
{
  /* No SA_RESTART: a wait must end when a signal comes. */
  const struct sigaction action = { .sa_handler = catch_one };

  sigaction (SIGINT, &action, NULL);
  sigaction (SIGTERM, &action, NULL);
  sigaction (SIGHUP, &action, NULL);
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
