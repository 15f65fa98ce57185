/* nbdkit-vram: tests how JSON is written and read
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <malloc.h>
#include <string.h>

#include "json.h"
#include "test.h"

static char line[JSON_ARENA];

/* As far as a test needs it: a line that ends in a newline, as text. */
static const char *
line_of (struct json *j)
{
  long n = json_line (j, line, sizeof line - 1);

  if (n < 1 || line[n - 1] != '\n')
    return "no line";
  line[n - 1] = '\0';
  return line;
}

static void
check_string (const char *value, const char *wanted)
{
  struct json j;

  json_begin (&j);
  json_add_string (&j, "s", value);
  if (strcmp (line_of (&j), wanted) != 0) {
    fprintf (stderr, "wanted %s, got %s\n", wanted, line);
    failures++;
  }
}

static void
test_strings (void)
{
  check_string ("", "{\"s\":\"\"}");
  check_string ("a \"b\" \\ \n\x01",
                "{\"s\":\"a \\\"b\\\" \\\\ \\n\\u0001\"}");
  check_string ("Größe €", "{\"s\":\"Größe €\"}");
  /* Bytes of no character, a character cut short, a surrogate, a '/' that
   * takes two bytes.
   */
  check_string ("a\xff\xfe"
                "b",
                "{\"s\":\"a\xef\xbf\xbd\xef\xbf\xbd"
                "b\"}");
  check_string ("\xe2\x82", "{\"s\":\"\xef\xbf\xbd\xef\xbf\xbd\"}");
  check_string ("ü\xe2", "{\"s\":\"ü\xef\xbf\xbd\"}");
  check_string ("\xed\xa0\x80",
                "{\"s\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
  check_string ("\xc0\xaf", "{\"s\":\"\xef\xbf\xbd\xef\xbf\xbd\"}");
}

static void
test_containers (void)
{
  struct json j;

  json_begin (&j);
  json_add_number (&j, "n", -INT64_C (9007199254740993));
  json_add_array (&j, "list");
  json_add_object (&j, NULL);
  json_add_bool (&j, "yes", true);
  json_close (&j);
  json_add_null (&j, NULL);
  json_close (&j);
  json_add_array (&j, "empty");
  json_close (&j);
  CHECK (strcmp (line_of (&j), "{\"n\":-9007199254740993,\"list\":"
                               "[{\"yes\":true},null],\"empty\":[]}") == 0);

  /* Nested deeper than anything here is. */
  json_begin (&j);
  for (unsigned i = 0; i < 20; i++)
    json_add_object (&j, "o");
  json_add_number (&j, "n", 1);
  for (unsigned i = 0; i < 20; i++)
    json_close (&j);
  CHECK (json_line (&j, line, sizeof line) == -1);

  /* Too long by the newline. */
  json_begin (&j);
  CHECK (json_line (&j, line, 2) == -1);
  json_begin (&j);
  CHECK (json_line (&j, line, 3) == 3 && memcmp (line, "{}\n", 3) == 0);
}

static struct json_t *
read_text (const char *text)
{
  return json_read (text, strlen (text));
}

static void
test_reading (void)
{
  static const char *const wrong[] = {
    "",
    "{",
    "[]",
    "\"x\"",
    "{} {}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":\"\xff\"}",
    "{a:1}",
    "null",
  };
  struct json_t *o =
      read_text ("{\"do\":\"stop\",\"n\":-7,\"wait\":false,\"force\":true}\n");
  int64_t n = 0;

  CHECK (o != NULL);
  CHECK (strcmp (json_text (o, "do"), "stop") == 0);
  CHECK (json_get_number (o, "n", &n) && n == -7);
  CHECK (!json_flag (o, "wait") && json_flag (o, "force"));
  /* Missing, or of another type. */
  CHECK (json_text (o, "n")[0] == '\0');
  CHECK (json_text (o, "none")[0] == '\0');
  CHECK (!json_get_number (o, "do", &n) && !json_flag (o, "n"));
  json_free (o);
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    CHECK (read_text (wrong[i]) == NULL);
}

/* As much as the longest answer of the daemon holds, and what stops growing.
 */
static long
answer (unsigned swaps)
{
  struct json j;

  json_begin (&j);
  json_add_array (&j, "swaps");
  for (unsigned i = 0; i < swaps; i++) {
    json_add_object (&j, NULL);
    json_add_string (&j, "path", "/dev/mapper/a-name-of-some-length");
    json_add_string (&j, "kind", "disk");
    json_add_number (&j, "size", INT64_C (1) << 40);
    json_add_number (&j, "used", INT64_C (1) << 39);
    json_add_number (&j, "priority", -2);
    json_close (&j);
  }
  json_close (&j);
  return json_line (&j, line, sizeof line);
}

/* Last: it holds for the process. */
static void
test_arena (void)
{
  static const char request[] = "{\"do\":\"status\"}";
  struct json_t *o;
  size_t before;

  json_use_arena ();
  before = mallinfo2 ().uordblks;
  for (unsigned i = 0; i < 1000; i++) {
    o = json_read (request, sizeof request - 1);
    CHECK (o != NULL);
    CHECK (answer (32) > 0);
    json_free (o);
  }
  /* Nothing of it was ever the C library's. */
  CHECK (mallinfo2 ().uordblks == before);
  /* Too much is refused, and does no harm to what follows. */
  CHECK (answer (2000) == -1);
  CHECK (answer (32) > 0);
}

int
main (void)
{
  test_strings ();
  test_containers ();
  test_reading ();
  test_arena ();
  FINISH;
}
