/* nbdkit-vram: nbdkit-vram.conf, what it may say and what is in force
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "json.h"
#include "msg.h"

/* Seconds after which the kernel gives up one of several connections by
 * itself.
 */
#define KERNELS_TIMEOUT 30

static const struct key {
  const char *name;
  const char *value; /* the default */
  enum conf_change when;
  enum kind {
    WORDS, /* nothing but the words */
    ANY,
    TEXT, /* not empty */
    BYTES,
    SHARE, /* bytes, or a percentage of the GPU's VRAM */
    SECONDS,
    NUMBER,
    SOCKET,
    FOLDER,
    NBD_DEVICE,
    PLUGIN,
    THRESHOLD, /* down-below=N% */
  } kind;
  const char *expected; /* for messages: "expected ..." */
  const char *words;    /* allowed besides, each between blanks */
  int64_t min, max;     /* of what is a number; no MAX is 0 */
} keys[CONF_KEYS] = {
  /* clang-format off */
  [CONF_SIZE] = { "size", "80%", CONF_AT_UP, SHARE,
    .expected = "a size of at least 4K such as 7G, a share such as 80%, or "
                "max",
    .words = " max ", .min = 4096 },
  [CONF_MIN_SIZE] = { "min-size", "512M", CONF_AT_UP, BYTES,
    .expected = "a size of at least 4K such as 512M or 7G", .min = 4096 },
  [CONF_HEADROOM] = { "headroom", "auto", CONF_AT_NEW_SERVER, BYTES,
    .expected = "auto or a size such as 512M, 2G or 0", .words = " auto " },
  [CONF_ELASTIC] = { "elastic", "yes", CONF_AT_UP, WORDS,
    .expected = "yes or no", .words = " yes no " },
  [CONF_LIMIT] = { "limit", "max", CONF_AT_NEW_SERVER, BYTES,
    .expected = "a size of at least 2M such as 4G, or max", .words = " max ",
    .min = 2 << 20 },
  [CONF_SPILL] = { "spill", CONF_SPILL_FOLDER, CONF_AT_UP, FOLDER,
    .expected = "the absolute path of a folder, or none", .words = " none " },
  [CONF_DEVICE] = { "device", "auto", CONF_AT_UP, TEXT,
    .expected = "a value" },
  [CONF_WINDOW] = { "window", "auto", CONF_AT_NEW_SERVER, WORDS,
    .expected = "auto, yes or no", .words = " auto yes no " },
  [CONF_RESIDENT] = { "resident", "required", CONF_AT_NEW_SERVER, WORDS,
    .expected = "required, yes, no or auto",
    .words = " required yes no auto " },
  [CONF_BOOST] = { "boost", "no", CONF_AT_NEW_SERVER, WORDS,
    .expected = "yes or no", .words = " yes no " },
  [CONF_SCRUB] = { "scrub", "yes", CONF_AT_NEW_SERVER, WORDS,
    .expected = "yes or no", .words = " yes no " },
  /* As the plugin takes it. */
  [CONF_GPU_TIMEOUT] = { "gpu-timeout", "20s", CONF_AT_NEW_SERVER, SECONDS,
    .expected = "a time from 1s to 1h", .min = 1, .max = 3600 },
  [CONF_PLUGIN] = { "plugin", PLUGIN_NAME, CONF_AT_NEW_SERVER, PLUGIN,
    .expected = "a name, or a file with its absolute path" },
  [CONF_PLUGIN_ARGS] = { "plugin-args", "", CONF_AT_NEW_SERVER, .kind = ANY },
  [CONF_THREADS] = { "threads", "1", CONF_AT_NEW_SERVER, NUMBER,
    .expected = "a number from 1 to 64", .min = 1, .max = 64 },
  [CONF_SOCKET] = { "socket", "/run/vram-swap/server/nbd.sock",
    CONF_AT_NEW_SERVER, SOCKET,
    .expected = "an absolute path of at most 100 bytes" },
  [CONF_START_TIMEOUT] = { "start-timeout", "60s", CONF_LIVE, SECONDS,
    .expected = "a time of at least 1s", .min = 1 },
  [CONF_SPARE] = { "spare", "auto", CONF_LIVE, BYTES,
    .expected = "auto or a size of at most 1G such as 256M or 0",
    .words = " auto ", .max = 1 << 30 },
  [CONF_NBD_DEVICE] = { "nbd-device", "auto", CONF_AT_UP, NBD_DEVICE,
    .expected = "auto or a whole device such as /dev/nbd0",
    .words = " auto " },
  [CONF_CONNECTIONS] = { "connections", "auto", CONF_AT_UP, NUMBER,
    .expected = "auto or a number from 1 to 64", .words = " auto ", .min = 1,
    .max = 64 },
  [CONF_TIMEOUT] = { "timeout", "auto", CONF_AT_UP, SECONDS,
    .expected = "auto or a time such as 1h", .words = " auto " },
  [CONF_OUTAGE_TIMEOUT] = { "outage-timeout", "10min", CONF_LIVE, SECONDS,
    .expected = "a time of at least 1s such as 90s, 10min or 1h", .min = 1 },
  [CONF_PRIORITY] = { "priority", "1500", CONF_AT_UP, NUMBER,
    .expected = "a number from 0 to 32767", .max = 32767 },
  [CONF_DISCARD] = { "discard", "pages", CONF_AT_UP, WORDS,
    .expected = "no, once, pages or both", .words = " no once pages both " },
  [CONF_POWER_POLICY] = { "power-policy", "keep", CONF_LIVE, THRESHOLD,
    .expected = "keep, down-on-battery or down-below=N%",
    .words = " keep down-on-battery " },
  [CONF_SLEEP_POLICY] = { "sleep-policy", "auto", CONF_LIVE, WORDS,
    .expected = "auto, drain or keep", .words = " auto drain keep " },
  [CONF_SLEEP_WHEN_FULL] = { "sleep-when-full", "inhibit", CONF_LIVE, WORDS,
    .expected = "inhibit or keep", .words = " inhibit keep " },
  [CONF_IDLE_DOWN] = { "idle-down", "0", CONF_LIVE, SECONDS,
    .expected = "a time such as 60, 90s, 10min or 1h" },
  /* clang-format on */
};

/* The number at the start of TEXT and what follows it. */
static bool
parse_unsigned (const char *text, int64_t *n, const char **rest)
{
  char *end;

  if (!isdigit ((unsigned char) text[0]))
    return false;
  errno = 0;
  *n = strtoll (text, &end, 10);
  *rest = end;
  return errno == 0;
}

bool
conf_parse_bytes (const char *text, int64_t *bytes)
{
  static const char units[] = "KMGT";
  const char *rest, *unit;
  int64_t n;

  if (!parse_unsigned (text, &n, &rest))
    return false;
  if (*rest != '\0') {
    unit = strchr (units, toupper ((unsigned char) *rest));
    if (!unit || rest[1] != '\0')
      return false;
    for (const char *u = units; u <= unit; u++)
      if (__builtin_mul_overflow (n, 1024, &n))
        return false;
  }
  *bytes = n;
  return true;
}

bool
conf_parse_seconds (const char *text, int64_t *seconds)
{
  static const struct {
    const char *name;
    int factor;
  } units[] = { { "", 1 }, { "s", 1 }, { "min", 60 }, { "h", 3600 } };
  const char *rest;
  int64_t n;

  if (!parse_unsigned (text, &n, &rest))
    return false;
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (strcmp (rest, units[i].name) == 0)
      /* 136 years: what nbd-client and poll can take. */
      return !__builtin_mul_overflow (n, units[i].factor, seconds) &&
             *seconds <= UINT32_MAX;
  return false;
}

static bool
parse_number (const char *text, int64_t *n)
{
  const char *rest;

  return parse_unsigned (text, n, &rest) && *rest == '\0';
}

/* N of a percentage. */
static bool
parse_percent (const char *text, int64_t *n)
{
  const char *rest;

  return parse_unsigned (text, n, &rest) && strcmp (rest, "%") == 0 &&
         *n >= 1 && *n <= 100;
}

static bool
parse_threshold (const char *text, int64_t *percent)
{
  static const char word[] = "down-below=";

  return strncmp (text, word, sizeof word - 1) == 0 &&
         parse_percent (text + sizeof word - 1, percent);
}

static bool
is_word (const struct key *key, const char *text)
{
  const size_t n = strlen (text);

  for (const char *p = key->words; p && *p; p += 1 + strcspn (p + 1, " "))
    if (n > 0 && strncmp (p + 1, text, n) == 0 && p[1 + n] == ' ')
      return true;
  return false;
}

static bool
is_valid (const struct key *key, const char *text)
{
  int64_t n = key->min;
  bool valid = false;

  if (is_word (key, text))
    return true;
  switch (key->kind) {
  case WORDS:
    break;
  case ANY:
    return true;
  case TEXT:
    return text[0] != '\0';
  case SHARE:
    if (parse_percent (text, &n))
      return true;
    /* fall through */
  case BYTES:
    valid = conf_parse_bytes (text, &n);
    break;
  case SECONDS:
    valid = conf_parse_seconds (text, &n);
    break;
  case NUMBER:
    valid = parse_number (text, &n);
    break;
  case SOCKET:
    /* A Unix socket's address holds 107 bytes and a NUL. */
    return text[0] == '/' && strlen (text) <= 100;
  case FOLDER:
    return text[0] == '/';
  case NBD_DEVICE:
    return strncmp (text, "/dev/nbd", 8) == 0 && parse_number (text + 8, &n) &&
           n <= 1 << 20;
  case PLUGIN:
    /* nbdkit takes what has a dot or a slash in it for a file. */
    return text[0] == '/' || (text[0] != '\0' && !strpbrk (text, "./"));
  case THRESHOLD:
    return parse_threshold (text, &n);
  }
  return valid && n >= key->min && (key->max == 0 || n <= key->max);
}

const char *
conf_name (enum conf_key key)
{
  return keys[key].name;
}

enum conf_change
conf_when (enum conf_key key)
{
  return keys[key].when;
}

bool
conf_find (const char *name, enum conf_key *key)
{
  for (unsigned k = 0; k < CONF_KEYS; k++)
    if (strcmp (keys[k].name, name) == 0) {
      *key = k;
      return true;
    }
  return false;
}

static char *
trim (char *s)
{
  char *end;

  s += strspn (s, " \t\r\n");
  end = s + strlen (s);
  while (end > s && strchr (" \t\r\n", end[-1]))
    *--end = '\0';
  return s;
}

/* Adds a line to what is wrong. */
static void __attribute__ ((format (printf, 2, 3)))
blame (struct conf *c, const char *fmt, ...)
{
  const size_t old = c->errors ? strlen (c->errors) + 1 : 0;
  char line[1024], *errors;
  va_list args;

  va_start (args, fmt);
  vsnprintf (line, sizeof line, fmt, args);
  va_end (args);
  errors = realloc (c->errors, old + strlen (line) + 1);
  if (!errors)
    return;
  if (old)
    errors[old - 1] = '\n';
  memcpy (errors + old, line, strlen (line) + 1);
  c->errors = errors;
}

/* One line of the file, of N bytes. */
static void
take_line (struct conf *c, char *line, size_t n, unsigned number)
{
  char *name, *value, *copy;
  enum conf_key key;

  if (memchr (line, '\0', n)) {
    blame (c, "%s:%u: a NUL byte: not a text file", c->file, number);
    return;
  }
  name = trim (line);
  /* A '#' begins a comment at the start of a line only: names may hold one. */
  if (*name == '\0' || *name == '#')
    return;
  if (*name == '[') {
    blame (c, "%s:%u: sections are not supported; write KEY = VALUE", c->file,
           number);
    return;
  }
  value = strchr (name, '=');
  if (!value) {
    blame (c, "%s:%u: expected KEY = VALUE", c->file, number);
    return;
  }
  *value++ = '\0';
  name = trim (name);
  value = trim (value);

  if (!conf_find (name, &key)) {
    blame (c, "%s:%u: unknown key '%s'", c->file, number, name);
    return;
  }
  if (c->item[key].line) {
    blame (c, "%s:%u: %s is already set in line %u", c->file, number, name,
           c->item[key].line);
    return;
  }
  if (!is_valid (&keys[key], value)) {
    blame (c, "%s:%u: invalid %s '%s'; expected %s", c->file, number, name,
           value, keys[key].expected);
    return;
  }
  copy = strdup (value);
  if (!copy) {
    blame (c, "strdup: %s", strerror (errno));
    return;
  }
  free (c->item[key].value);
  c->item[key].value = copy;
  c->item[key].line = number;
}

/* A connection that the kernel gives up while the server may still be at work
 * on a request of it can cost data.
 */
static void
check_timeouts (struct conf *c)
{
  const long long timeout = conf_timeout (c),
                  gpu = conf_number (c, CONF_GPU_TIMEOUT);

  if (timeout == 0 && (conf_connections (c) == 1 || gpu < KERNELS_TIMEOUT))
    return;
  if (timeout > gpu)
    return;
  if (timeout == 0)
    blame (
        c,
        "%s:%u: invalid timeout '0', which means the kernel's %d s with "
        "several connections; expected auto or more than gpu-timeout (%lld s)",
        c->file, c->item[CONF_TIMEOUT].line, KERNELS_TIMEOUT, gpu);
  else
    blame (c,
           "%s:%u: invalid timeout '%s'; expected auto or more than "
           "gpu-timeout (%lld s)",
           c->file, c->item[CONF_TIMEOUT].line, conf_text (c, CONF_TIMEOUT),
           gpu);
}

/* A smaller size is also the default of min-size, as in the plugin. */
static void
lower_min_size (struct conf *c)
{
  int64_t size;
  char *copy;

  if (c->item[CONF_MIN_SIZE].line != 0 ||
      !conf_parse_bytes (conf_text (c, CONF_SIZE), &size) ||
      size >= conf_number (c, CONF_MIN_SIZE))
    return;
  copy = strdup (conf_text (c, CONF_SIZE));
  if (!copy) {
    blame (c, "strdup: %s", strerror (errno));
    return;
  }
  free (c->item[CONF_MIN_SIZE].value);
  c->item[CONF_MIN_SIZE].value = copy;
}

/* Values that contradict each other. */
static void
check_together (struct conf *c)
{
  const char *plugin = conf_text (c, CONF_PLUGIN);
  int64_t size;

  check_timeouts (c);
  if (conf_is (c, CONF_ELASTIC, "no") && !conf_is (c, CONF_LIMIT, "max"))
    blame (c, "%s:%u: invalid limit '%s'; it needs elastic = yes", c->file,
           c->item[CONF_LIMIT].line, conf_text (c, CONF_LIMIT));
  if (conf_parse_bytes (conf_text (c, CONF_SIZE), &size) &&
      size < conf_number (c, CONF_MIN_SIZE))
    blame (c, "%s:%u: invalid size '%s'; expected at least min-size (%s)",
           c->file, c->item[CONF_SIZE].line, conf_text (c, CONF_SIZE),
           conf_text (c, CONF_MIN_SIZE));
  if (plugin[0] == '/' && access (plugin, F_OK) == -1)
    blame (c, "%s:%u: invalid plugin '%s': %s", c->file,
           c->item[CONF_PLUGIN].line, plugin, strerror (errno));
}

/* A user that can write the file, or replace it, decides what root does. */
static bool
trusts (struct conf *c, const char *path, const struct stat *st)
{
  if (st->st_uid != 0)
    blame (c, "%s: not trusted: not owned by root; run 'chown root %s'", path,
           path);
  else if (st->st_mode & (S_IWGRP | S_IWOTH) && !(st->st_mode & S_ISVTX))
    blame (c,
           "%s: not trusted: writable by users other than root; run 'chmod "
           "go-w %s'",
           path, path);
  else
    return true;
  return false;
}

static bool
trusts_folder (struct conf *c)
{
  char path[PATH_MAX];
  const char *folder;
  struct stat st;

  snprintf (path, sizeof path, "%s", c->file);
  folder = dirname (path);
  if (stat (folder, &st) == 0)
    return trusts (c, folder, &st);
  blame (c, "%s: %s", folder, strerror (errno));
  return false;
}

static FILE *
open_file (struct conf *c, bool missing_ok)
{
  FILE *fp = fopen (c->file, "re");
  struct stat st;

  if (!fp) {
    if (errno != ENOENT || !missing_ok)
      blame (c, "%s: %s", c->file, strerror (errno));
    return NULL;
  }
  if (fstat (fileno (fp), &st) == 0 && S_ISDIR (st.st_mode))
    blame (c, "%s: %s", c->file, strerror (EISDIR));
  else if (geteuid () != 0 || (trusts (c, c->file, &st) && trusts_folder (c)))
    return fp;
  fclose (fp);
  return NULL;
}

int
conf_read (struct conf *c, const char *file, bool missing_ok)
{
  FILE *fp;
  char *line = NULL;
  size_t size = 0;
  ssize_t n;
  unsigned number = 0;

  memset (c, 0, sizeof *c);
  c->file = strdup (file);
  if (!c->file)
    goto err_memory;
  for (unsigned k = 0; k < CONF_KEYS; k++) {
    c->item[k].value = strdup (keys[k].value);
    if (!c->item[k].value)
      goto err_memory;
  }

  fp = open_file (c, missing_ok);
  if (fp) {
    while ((n = getline (&line, &size, fp)) != -1)
      take_line (c, line, n, ++number);
    if (ferror (fp))
      blame (c, "%s: %s", file, strerror (errno));
    free (line);
    fclose (fp);
  }
  if (!c->errors)
    lower_min_size (c);
  if (!c->errors)
    check_together (c);
  return c->errors ? -1 : 0;

err_memory:
  blame (c, "strdup: %s", strerror (ENOMEM));
  return -1;
}

int
conf_load (struct conf *c, const char *file, bool missing_ok)
{
  int ret = conf_read (c, file, missing_ok);
  const char *line = c->errors;

  while (line) {
    const char *end = strchr (line, '\n');

    log_error ("%.*s", (int) (end ? end - line : (long) strlen (line)), line);
    line = end ? end + 1 : NULL;
  }
  return ret;
}

void
conf_free (struct conf *c)
{
  for (unsigned k = 0; k < CONF_KEYS; k++)
    free (c->item[k].value);
  free (c->file);
  free (c->errors);
}

const char *
conf_text (const struct conf *c, enum conf_key key)
{
  return c->item[key].value;
}

bool
conf_is (const struct conf *c, enum conf_key key, const char *word)
{
  return strcmp (c->item[key].value, word) == 0;
}

int64_t
conf_number (const struct conf *c, enum conf_key key)
{
  const char *text = c->item[key].value;
  int64_t n = 0;

  /* The values have been checked when they were read. */
  if (keys[key].kind == BYTES)
    conf_parse_bytes (text, &n);
  else if (keys[key].kind == SECONDS)
    conf_parse_seconds (text, &n);
  else
    n = strtoll (text, NULL, 10);
  return n;
}

int
conf_battery_threshold (const struct conf *c)
{
  int64_t percent;

  return parse_threshold (conf_text (c, CONF_POWER_POLICY), &percent) ? percent
                                                                      : -1;
}

unsigned
conf_connections (const struct conf *c)
{
  long cpus;

  if (!conf_is (c, CONF_CONNECTIONS, "auto"))
    return conf_number (c, CONF_CONNECTIONS);
  /* Each costs a queue and a thread in the kernel and a thread in the server;
   * HACKING.md says why not more than four.
   */
  cpus = sysconf (_SC_NPROCESSORS_CONF);
  return cpus < 1 ? 1 : cpus > 4 ? 4 : cpus;
}

unsigned
conf_timeout (const struct conf *c)
{
  int64_t n;

  if (!conf_is (c, CONF_TIMEOUT, "auto"))
    return conf_number (c, CONF_TIMEOUT);
  /* Without one, the kernel waits forever on a single connection, but counts
   * to KERNELS_TIMEOUT and kills the socket when there are several.  A copy
   * that hangs ends after gpu-timeout, and with it all that wait behind it;
   * copies that are merely slow add up, so there is room for some.  Not for
   * more: it is also how long requests under way on several connections wait
   * when the server has died and another is there already.
   */
  if (conf_connections (c) == 1)
    return 0;
  n = 3 * conf_number (c, CONF_GPU_TIMEOUT);
  return n < KERNELS_TIMEOUT ? KERNELS_TIMEOUT : n;
}

static void
print_origin (const struct conf *c, enum conf_key key, char *buf, size_t size)
{
  if (c->item[key].line)
    snprintf (buf, size, "%s:%u", c->file, c->item[key].line);
  else
    snprintf (buf, size, "default");
}

void
conf_print (const struct conf *c, FILE *out)
{
  char origin[600], last[600] = "";

  for (unsigned k = 0; k < CONF_KEYS; k++) {
    print_origin (c, k, origin, sizeof origin);
    if (strcmp (origin, last) != 0)
      fprintf (out, "# %s\n", origin);
    fprintf (out, "%s = %s\n", keys[k].name, c->item[k].value);
    snprintf (last, sizeof last, "%s", origin);
  }
}

void
conf_print_json (const struct conf *c, FILE *out)
{
  char origin[600];
  struct json j;

  json_begin (&j);
  for (unsigned k = 0; k < CONF_KEYS; k++) {
    print_origin (c, k, origin, sizeof origin);
    json_add_object (&j, keys[k].name);
    json_add_string (&j, "value", c->item[k].value);
    json_add_string (&j, "origin", origin);
    json_close (&j);
  }
  json_print (&j, out);
}
