/* nbdkit-vram: log messages, for a sink that the program sets
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LOG_H
#define VRAM_LOG_H

#include <stdarg.h>
#include <stdbool.h>

enum log_level {
  LOG_LEVEL_ERROR,   /* something failed */
  LOG_LEVEL_WARNING, /* something works, but not as well as it should */
  LOG_LEVEL_INFO,    /* something happened that users want to know */
  LOG_LEVEL_DEBUG,
};

/* Writes one message of LEVEL, without a newline; FORMAT may contain %m.  Must
 * leave errno as it was and may be called by any thread.
 */
typedef void log_sink (enum log_level level, const char *format, va_list args);

/* Where messages go: stderr, without debug messages, until a program sets its
 * own sink.  Set it before a second thread exists.
 */
extern log_sink *log_to;

/* Whether the default sink also writes debug messages. */
extern bool log_verbose;

/* errno is preserved, so that a caller can log and then return it. */
extern void
log_error (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
extern void
log_warning (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
extern void
log_info (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
extern void
log_debug (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

/* "error", "warning", "info" or "debug". */
extern const char *log_level_name (enum log_level level);

#endif /* VRAM_LOG_H */
