/* nbdkit-vram: writes a server's messages for syslog to a file
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

/* Appends "PRIORITY TEXT" to $VRAM_TEST_SYSLOG; PRIORITY has no facility. */
static void
write_line (int priority, const char *format, va_list args)
{
  const char *path = getenv ("VRAM_TEST_SYSLOG");
  FILE *fp = path ? fopen (path, "ae") : NULL;

  if (fp == NULL)
    return;
  fprintf (fp, "%d ", LOG_PRI (priority));
  vfprintf (fp, format, args);
  fputc ('\n', fp);
  fclose (fp);
}

void __syslog_chk (int priority, int flag, const char *format, ...);

void
syslog (int priority, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  write_line (priority, format, args);
  va_end (args);
}

/* Programs that are compiled with -D_FORTIFY_SOURCE call this. */
void
__syslog_chk (int priority, int flag, const char *format, ...)
{
  va_list args;

  (void) flag;
  va_start (args, format);
  write_line (priority, format, args);
  va_end (args);
}
