/* nbdkit-vram: how the stand-in drivers read their environment
 * SPDX-License-Identifier: BSD-3-Clause
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"

void
settings_fatal (const char *fmt, ...)
{
  va_list ap;

  fputs ("stand-in driver: ", stderr);
  va_start (ap, fmt);
  vfprintf (stderr, fmt, ap);
  va_end (ap);
  fputc ('\n', stderr);
  abort ();
}

const char *
settings_get (const char *prefix, const char *name)
{
  char full[64];
  const char *s;

  snprintf (full, sizeof full, "%s%s", prefix, name);
  s = getenv (full);
  return s && *s ? s : NULL;
}

uint64_t
settings_number (const char *what, const char *s)
{
  char *end;
  uint64_t n;

  errno = 0;
  n = strtoull (s, &end, 10);
  if (errno || end == s || *end || !isdigit ((unsigned char) *s))
    settings_fatal ("%s: not a number: '%s'", what, s);
  return n;
}

uint64_t
settings_size (const char *what, const char *s)
{
  static const char units[] = "KMGT";
  char *end;
  const char *unit;
  uint64_t n;

  errno = 0;
  n = strtoull (s, &end, 10);
  if (errno || end == s || !isdigit ((unsigned char) *s))
    goto bad;
  while (*end == '\n')
    end++;
  if (*end) {
    unit = strchr (units, toupper ((unsigned char) *end));
    if (!unit)
      goto bad;
    n <<= 10 * (unit - units + 1);
    end++;
    while (*end == '\n')
      end++;
    if (*end)
      goto bad;
  }
  return n;

bad:
  settings_fatal ("%s: not a size: '%s'", what, s);
}

const char *
settings_item (const char *list, int i, char *buf, size_t len)
{
  const char *comma;

  while (i > 0 && (comma = strchr (list, ',')) != NULL) {
    list = comma + 1;
    i--;
  }
  snprintf (buf, len, "%.*s", (int) strcspn (list, ","), list);
  return buf;
}

static void
parse_uuid (unsigned char uuid[16], const char *s)
{
  const char *p = s;
  int i;

  if (strncmp (p, "GPU-", 4) == 0)
    p += 4;
  for (i = 0; i < 16; i++) {
    unsigned int byte;

    if (*p == '-')
      p++;
    if (!isxdigit ((unsigned char) p[0]) || !isxdigit ((unsigned char) p[1]) ||
        sscanf (p, "%2x", &byte) != 1)
      settings_fatal ("UUIDS: not a UUID: '%s'", s);
    uuid[i] = (unsigned char) byte;
    p += 2;
  }
  if (*p)
    settings_fatal ("UUIDS: not a UUID: '%s'", s);
}

void
settings_uuid (unsigned char uuid[16], const char *list, int i)
{
  char buf[64];

  if (list)
    settings_item (list, i, buf, sizeof buf);
  else
    snprintf (buf, sizeof buf, "57a4d1ed-0000-4000-8000-0000000000%02x",
              (unsigned int) i);
  parse_uuid (uuid, buf);
}

void
settings_check (const char *prefix, const char *known)
{
  char **e, name[80];

  for (e = environ; *e; e++) {
    if (strncmp (*e, prefix, strlen (prefix)) != 0)
      continue;
    snprintf (name, sizeof name, " %.*s ",
              (int) strcspn (*e + strlen (prefix), "="), *e + strlen (prefix));
    if (!strstr (known, name))
      settings_fatal ("unknown variable: %.60s", *e);
  }
}
