/* nbdkit-vram: tests of the levels of messages
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "common/log.h"
#include "logging.h"
#include "nbdkit-stubs.h"

/* Returns the output on stderr, which is a file. */
static const char *
printed (void (*log) (const char *format, ...))
{
  static char text[256];
  FILE *fp = tmpfile ();
  int saved = dup (STDERR_FILENO);
  size_t n;

  CHECK (fp != NULL && saved != -1);
  stub_messages_clear ();
  CHECK (dup2 (fileno (fp), STDERR_FILENO) != -1);
  if (getenv ("JOURNAL_STREAM")) {
    struct stat st;
    char stream[64];

    CHECK_EQ (fstat (STDERR_FILENO, &st), 0);
    snprintf (stream, sizeof stream, "%llu:%llu",
              (unsigned long long) st.st_dev, (unsigned long long) st.st_ino);
    setenv ("JOURNAL_STREAM", stream, 1);
  }
  log_to = logging_sink;
  log ("a number: %d", 5);
  fflush (stderr);
  CHECK (dup2 (saved, STDERR_FILENO) != -1);
  close (saved);
  rewind (fp);
  n = fread (text, 1, sizeof text - 1, fp);
  text[n] = '\0';
  fclose (fp);
  return text;
}

/* Errors and debug messages go to nbdkit. */
static void
test_stderr (void)
{
  unsetenv ("JOURNAL_STREAM");
  CHECK_STR (printed (log_error), "");
  CHECK_STR (stub_errors (), "a number: 5\n");
  CHECK_STR (printed (log_warning),
             "nbdkit: " PLUGIN_NAME ": warning: a number: 5\n");
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_STR (printed (log_info),
             "nbdkit: " PLUGIN_NAME ": info: a number: 5\n");
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_STR (printed (log_debug), "");
  CHECK_STR (stub_debugs (), "a number: 5\n");
}

/* The journal gets levels. */
static void
test_journal (void)
{
  setenv ("JOURNAL_STREAM", "", 1);
  CHECK_STR (printed (log_error),
             "<3>nbdkit: " PLUGIN_NAME ": error: a number: 5\n");
  CHECK_STR (printed (log_warning),
             "<4>nbdkit: " PLUGIN_NAME ": warning: a number: 5\n");
  CHECK_STR (printed (log_info),
             "<6>nbdkit: " PLUGIN_NAME ": info: a number: 5\n");
  CHECK_EQ (stub_errors_count (), 0);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_stderr);
  RUN (test_journal);
  return check_end ();
}
