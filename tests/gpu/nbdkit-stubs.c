/* nbdkit-vram: what the plugin's code calls in nbdkit, for programs that are not nbdkit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "nbdkit-stubs.h"

bool verbose;

void
nbdkit_error (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fputc ('\n', stderr);
}

void
nbdkit_debug (const char *format, ...)
{
  va_list args;

  if (!verbose)
    return;
  va_start (args, format);
  vprintf (format, args);
  va_end (args);
  putchar ('\n');
}

/* No parameters here. */
int64_t
nbdkit_parse_size (const char *text)
{
  (void) text;
  return -1;
}
