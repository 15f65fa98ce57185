/* nbdkit-vram: prints a finding of vram-swap check
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#include "findings.h"

void
finding (struct report *r, enum verdict verdict, const char *what,
         const char *fix, const char *fmt, ...)
{
  static const char *const names[] = { "ok", "warning", "problem" };
  char text[1100];
  va_list args;

  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  r->problems += verdict == PROBLEM;
  r->warnings += verdict == WARNING;
  if (r->json) {
    json_add_object (r->json, NULL);
    json_add_string (r->json, "about", what);
    json_add_string (r->json, "verdict", names[verdict]);
    json_add_string (r->json, "text", text);
    json_add_text (r->json, "fix", fix);
    json_close (r->json);
    return;
  }
  printf ("%-8s %s: %s\n", names[verdict], what, text);
  if (fix)
    printf ("         fix: %s\n", fix);
}
