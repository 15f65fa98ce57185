/* nbdkit-vram: JSON, written and read with jansson
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <jansson.h>
#include <stdalign.h>
#include <string.h>

#include "json.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* --- Memory --- */

static alignas (max_align_t) char arena[JSON_ARENA];
static size_t arena_used;
static unsigned arena_live; /* allocations */

static void *
arena_alloc (size_t n)
{
  void *p = arena + arena_used;

  n = (n + alignof (max_align_t) - 1) / alignof (max_align_t) *
      alignof (max_align_t);
  if (n > sizeof arena - arena_used)
    return NULL;
  arena_used += n;
  arena_live++;
  return p;
}

static void
arena_free (void *p)
{
  if (p && --arena_live == 0)
    arena_used = 0;
}

void
json_use_arena (void)
{
  json_set_alloc_funcs (arena_alloc, arena_free);
  /* Or the first object would open /dev/urandom. */
  json_object_seed (0);
}

/* --- Writing --- */

/* Adds VALUE, or NULL if memory ran out, to the innermost container. */
static void
add (struct json *j, const char *name, json_t *value)
{
  json_t *in = j->open[j->depth];

  if ((name ? json_object_set_new (in, name, value)
            : json_array_append_new (in, value)) == -1)
    j->failed = true;
}

static void
add_container (struct json *j, const char *name, json_t *value)
{
  add (j, name, value);
  if (j->failed || j->depth + 1 == sizeof j->open / sizeof j->open[0]) {
    j->failed = true;
    return;
  }
  j->open[++j->depth] = value;
}

void
json_begin (struct json *j)
{
  *j = (struct json){ .open[0] = json_object () };
  j->failed = j->open[0] == NULL;
}

void
json_add_object (struct json *j, const char *name)
{
  if (!j->failed)
    add_container (j, name, json_object ());
}

void
json_add_array (struct json *j, const char *name)
{
  if (!j->failed)
    add_container (j, name, json_array ());
}

void
json_close (struct json *j)
{
  if (!j->failed)
    j->depth--;
}

/* The length in bytes of the character at S, or 0 if it is not UTF-8. */
static size_t
character_length (const char *s)
{
  for (size_t n = 1; n <= 4 && s[n - 1]; n++) {
    json_t *value = json_stringn (s, n);

    json_decref (value);
    if (value)
      return n;
  }
  return 0;
}

/* A string for TEXT, which is not all UTF-8.  The end is cut off if need be.
 */
static json_t *
mend_string (const char *text)
{
  char mended[2048];
  size_t used = 0;

  while (*text && used + 4 < sizeof mended) {
    size_t n = character_length (text);

    if (n > 0) {
      memcpy (mended + used, text, n);
      used += n;
      text += n;
    }
    else {
      memcpy (mended + used, replacement, sizeof replacement - 1);
      used += sizeof replacement - 1;
      text++;
    }
  }
  return json_stringn (mended, used);
}

void
json_add_string (struct json *j, const char *name, const char *value)
{
  json_t *string;

  if (j->failed)
    return;
  string = json_string (value);
  add (j, name, string ? string : mend_string (value));
}

void
json_add_number (struct json *j, const char *name, int64_t value)
{
  if (!j->failed)
    add (j, name, json_integer (value));
}

void
json_add_bool (struct json *j, const char *name, bool value)
{
  if (!j->failed)
    add (j, name, json_boolean (value));
}

void
json_add_null (struct json *j, const char *name)
{
  if (!j->failed)
    add (j, name, json_null ());
}

void
json_add_text (struct json *j, const char *name, const char *text)
{
  if (text && text[0])
    json_add_string (j, name, text);
  else
    json_add_null (j, name);
}

void
json_add_copy (struct json *j, const char *name, const json_t *value)
{
  if (!value)
    json_add_null (j, name);
  else if (!j->failed)
    add (j, name, json_deep_copy (value));
}

int
json_print (struct json *j, FILE *out)
{
  int ret = -1;

  if (!j->failed && json_dumpf (j->open[0], out, JSON_INDENT (2)) == 0 &&
      putc ('\n', out) != EOF)
    ret = 0;
  json_decref (j->open[0]);
  return ret;
}

long
json_line (struct json *j, char *buf, size_t size)
{
  size_t n = j->failed ? 0 : json_dumpb (j->open[0], buf, size, JSON_COMPACT);

  json_decref (j->open[0]);
  if (n == 0 || n >= size)
    return -1;
  buf[n] = '\n';
  return n + 1;
}

/* --- Reading --- */

json_t *
json_read (const char *text, size_t size)
{
  json_t *value = json_loadb (text, size, JSON_REJECT_DUPLICATES, NULL);

  if (json_is_object (value))
    return value;
  json_decref (value);
  return NULL;
}

void
json_free (json_t *object)
{
  json_decref (object);
}

const json_t *
json_get (const json_t *object, const char *name)
{
  return json_object_get (object, name);
}

bool
json_get_number (const json_t *object, const char *name, int64_t *value)
{
  const json_t *member = json_object_get (object, name);

  if (!json_is_integer (member))
    return false;
  *value = json_integer_value (member);
  return true;
}

int64_t
json_number (const json_t *object, const char *name)
{
  return json_integer_value (json_object_get (object, name));
}

bool
json_flag (const json_t *object, const char *name)
{
  return json_is_true (json_object_get (object, name));
}

const char *
json_text (const json_t *object, const char *name)
{
  const char *s = json_string_value (json_object_get (object, name));

  return s ? s : "";
}
