/* nbdkit-vram: writes JSON as it goes
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>

#include "json.h"

static void
put_string (struct json *j, const char *s)
{
  putc ('"', j->out);
  for (; *s; s++) {
    unsigned char c = *s;

    if (c == '"' || c == '\\')
      fprintf (j->out, "\\%c", c);
    else if (c < 0x20)
      fprintf (j->out, "\\u%04x", c);
    else
      putc (c, j->out);
  }
  putc ('"', j->out);
}

static void
indent (struct json *j)
{
  putc ('\n', j->out);
  for (unsigned i = 0; i < j->depth; i++)
    fputs ("  ", j->out);
}

static void
put_name (struct json *j, const char *name)
{
  if (!j->first)
    putc (',', j->out);
  j->first = false;
  indent (j);
  if (name) {
    put_string (j, name);
    fputs (": ", j->out);
  }
}

static void
put_open (struct json *j, bool array)
{
  putc (array ? '[' : '{', j->out);
  j->depth++;
  if (array)
    j->arrays |= 1u << j->depth;
  else
    j->arrays &= ~(1u << j->depth);
  j->first = true;
}

void
json_begin (struct json *j, FILE *out)
{
  *j = (struct json){ .out = out };
  put_open (j, false);
}

void
json_close (struct json *j)
{
  bool array = j->arrays & (1u << j->depth);

  j->depth--;
  if (!j->first)
    indent (j);
  putc (array ? ']' : '}', j->out);
  j->first = false;
}

void
json_end (struct json *j)
{
  json_close (j);
  putc ('\n', j->out);
  fflush (j->out);
}

void
json_object (struct json *j, const char *name)
{
  put_name (j, name);
  put_open (j, false);
}

void
json_array (struct json *j, const char *name)
{
  put_name (j, name);
  put_open (j, true);
}

void
json_string (struct json *j, const char *name, const char *value)
{
  put_name (j, name);
  put_string (j, value);
}

void
json_number (struct json *j, const char *name, int64_t value)
{
  put_name (j, name);
  fprintf (j->out, "%" PRId64, value);
}

void
json_bool (struct json *j, const char *name, bool value)
{
  put_name (j, name);
  fputs (value ? "true" : "false", j->out);
}

void
json_null (struct json *j, const char *name)
{
  put_name (j, name);
  fputs ("null", j->out);
}
