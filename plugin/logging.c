/* nbdkit-vram: sends messages where nbdkit sends its own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "logging.h"

/* nbdkit --log=... */
static enum { TO_DEFAULT, TO_STDERR, TO_SYSLOG, TO_NULL } destination;

static void
set_destination (const char *value)
{
  if (strcmp (value, "stderr") == 0)
    destination = TO_STDERR;
  else if (strcmp (value, "syslog") == 0)
    destination = TO_SYSLOG;
  else if (strcmp (value, "null") == 0)
    destination = TO_NULL;
}

void
logging_load (void)
{
  char *word = NULL;
  size_t size = 0;
  bool value_follows = false;
  FILE *fp = fopen ("/proc/self/cmdline", "re");

  log_to = logging_sink;
  if (fp == NULL)
    return;
  while (getdelim (&word, &size, '\0', fp) != -1) {
    if (value_follows)
      set_destination (word);
    else if (strncmp (word, "--log=", 6) == 0)
      set_destination (word + 6);
    value_follows = strcmp (word, "--log") == 0;
  }
  free (word);
  fclose (fp);
}

/* Whether stderr is /dev/null, device 1:3, as it is when nbdkit has forked
 * into the background.
 */
static bool
in_background (void)
{
  struct stat st;

  return fstat (STDERR_FILENO, &st) == -1 ||
         (S_ISCHR (st.st_mode) && st.st_rdev == makedev (1, 3));
}

static bool
goes_to_syslog (void)
{
  return destination == TO_SYSLOG ||
         (destination == TO_DEFAULT && in_background ());
}

/* Whether stderr is the journal, which takes a level in front of each line
 * (sd-daemon(3)); JOURNAL_STREAM holds the device and inode of its socket.
 */
static bool
is_journal (void)
{
  const char *stream = getenv ("JOURNAL_STREAM");
  unsigned long long dev, ino;
  struct stat st;

  return stream && sscanf (stream, "%llu:%llu", &dev, &ino) == 2 &&
         fstat (STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
         st.st_ino == ino;
}

/* Messages are also written here, unless it is -1. */
static int copy_fd = -1;

void
logging_copy_to (int fd)
{
  copy_fd = in_background () ? fd : -1;
}

static void
print (enum log_level level, const char *format, va_list args)
{
  static const int priorities[] = {
    [LOG_LEVEL_ERROR] = LOG_ERR,
    [LOG_LEVEL_WARNING] = LOG_WARNING,
    [LOG_LEVEL_INFO] = LOG_INFO,
  };
  char line[1024];
  int saved = errno;

  vsnprintf (line, sizeof line, format, args);
  if (goes_to_syslog ())
    syslog (LOG_DAEMON | priorities[level], "%s: %s: %s", PLUGIN_NAME,
            log_level_name (level), line);
  else {
    char prefix[4] = "";

    if (is_journal ())
      snprintf (prefix, sizeof prefix, "<%d>", priorities[level]);
    /* One write a message, so that messages of several threads do not mix. */
    fprintf (stderr, "%snbdkit: %s: %s: %s\n", prefix, PLUGIN_NAME,
             log_level_name (level), line);
  }
  errno = saved;
}

/* To copy_fd. */
static void
print_copy (enum log_level level, const char *format, va_list args)
{
  char line[1024];
  int saved = errno;
  va_list copy;

  va_copy (copy, args);
  vsnprintf (line, sizeof line, format, copy);
  va_end (copy);
  dprintf (copy_fd, "nbdkit: %s: %s: %s\n", PLUGIN_NAME,
           log_level_name (level), line);
  errno = saved;
}

void
logging_sink (enum log_level level, const char *format, va_list args)
{
  if (copy_fd != -1 && level != LOG_LEVEL_DEBUG && destination != TO_NULL)
    print_copy (level, format, args);
  if (level == LOG_LEVEL_DEBUG)
    nbdkit_vdebug (format, args);
  else if (destination == TO_NULL)
    return;
  /* nbdkit writes errors to the journal without their level. */
  else if (level == LOG_LEVEL_ERROR && (goes_to_syslog () || !is_journal ()))
    nbdkit_verror (format, args);
  else
    print (level, format, args);
}
