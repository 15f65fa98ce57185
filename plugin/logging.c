/* nbdkit-vram: sends messages where nbdkit sends its own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "logging.h"

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

static void
print (enum log_level level, const char *format, va_list args)
{
  const int priority = level == LOG_LEVEL_WARNING ? LOG_WARNING : LOG_INFO;
  char line[1024];
  int saved = errno;

  vsnprintf (line, sizeof line, format, args);
  if (in_background ())
    syslog (LOG_DAEMON | priority, "nbdkit: %s: %s: %s", PLUGIN_NAME,
            log_level_name (level), line);
  else {
    char prefix[4] = "";

    if (is_journal ())
      snprintf (prefix, sizeof prefix, "<%d>", priority);
    /* One write a message, so that messages of several threads do not mix. */
    fprintf (stderr, "%snbdkit: %s: %s: %s\n", prefix, PLUGIN_NAME,
             log_level_name (level), line);
  }
  errno = saved;
}

void
logging_sink (enum log_level level, const char *format, va_list args)
{
  switch (level) {
  case LOG_LEVEL_ERROR:
    nbdkit_verror (format, args);
    break;
  case LOG_LEVEL_DEBUG:
    nbdkit_vdebug (format, args);
    break;
  case LOG_LEVEL_WARNING:
  case LOG_LEVEL_INFO:
    print (level, format, args);
    break;
  }
}
