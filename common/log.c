/* nbdkit-vram: log messages, for a sink that the program sets
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>

#include "common/log.h"

static void
log_to_stderr (enum log_level level, const char *format, va_list args)
{
  int saved = errno;

  if (level == LOG_LEVEL_DEBUG && !log_verbose)
    return;
  flockfile (stderr);
  fprintf (stderr, "%s: ", log_level_name (level));
  errno = saved;
  vfprintf (stderr, format, args);
  fputc ('\n', stderr);
  funlockfile (stderr);
  errno = saved;
}

log_sink *log_to = log_to_stderr;
bool log_verbose;

const char *
log_level_name (enum log_level level)
{
  static const char *const names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
  };

  return names[level];
}

#define DEFINE_LOG(name, level)                                               \
  void name (const char *format, ...)                                         \
  {                                                                           \
    va_list args;                                                             \
                                                                              \
    va_start (args, format);                                                  \
    log_to (level, format, args);                                             \
    va_end (args);                                                            \
  }

DEFINE_LOG (log_error, LOG_LEVEL_ERROR)
DEFINE_LOG (log_warning, LOG_LEVEL_WARNING)
DEFINE_LOG (log_info, LOG_LEVEL_INFO)
DEFINE_LOG (log_debug, LOG_LEVEL_DEBUG)
