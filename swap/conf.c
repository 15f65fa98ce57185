/* nbdkit-vram: nbdkit-vram.conf, what it may say and what is in force
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
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

/* Each kind of value says in CHECK what is wrong with TEXT, or NULL. */
static const char *
check_bytes (const char *text)
{
  int64_t n;

  return conf_parse_bytes (text, &n) ? NULL
                                     : "wanted a size such as 512M, 7G or 0";
}

/* As big as the plugin takes it, at least. */
static const char *
check_limit (const char *text)
{
  int64_t n;

  return strcmp (text, "max") == 0 ||
                 (conf_parse_bytes (text, &n) && n >= 2 << 20)
             ? NULL
             : "wanted a size of at least 2M such as 4G, or max";
}

static const char *
check_spill (const char *text)
{
  return text[0] == '/' || strcmp (text, "none") == 0
             ? NULL
             : "wanted the absolute path of a folder, or none";
}

static const char *
check_headroom (const char *text)
{
  return strcmp (text, "auto") == 0 || !check_bytes (text)
             ? NULL
             : "wanted auto or a size such as 512M, 2G or 0";
}

static const char *
check_size (const char *text)
{
  int64_t n;
  char *end;

  if (strcmp (text, "max") == 0)
    return NULL;
  if (isdigit ((unsigned char) text[0])) {
    n = strtol (text, &end, 10);
    if (strcmp (end, "%") == 0 && end - text <= 3 && n >= 1 && n <= 100)
      return NULL;
  }
  if (conf_parse_bytes (text, &n) && n >= 4096)
    return NULL;
  return "wanted a size such as 7G, a share such as 80%, or max";
}

static const char *
check_seconds (const char *text)
{
  int64_t n;

  return conf_parse_seconds (text, &n)
             ? NULL
             : "wanted a time such as 60, 90s, 10min or 1h";
}

/* No server starts in no time. */
static const char *
check_start_timeout (const char *text)
{
  int64_t n;

  return conf_parse_seconds (text, &n) && n >= 1
             ? NULL
             : "wanted a time of at least 1s";
}

/* What the plugin takes. */
static const char *
check_gpu_timeout (const char *text)
{
  int64_t n;

  return conf_parse_seconds (text, &n) && n >= 1 && n <= 3600
             ? NULL
             : "wanted a time from 1s to 1h";
}

static const char *
check_yes_no (const char *text)
{
  return strcmp (text, "yes") == 0 || strcmp (text, "no") == 0
             ? NULL
             : "wanted yes or no";
}

static const char *
check_window (const char *text)
{
  return strcmp (text, "auto") == 0 || !check_yes_no (text)
             ? NULL
             : "wanted auto, yes or no";
}

static const char *
check_resident (const char *text)
{
  return strcmp (text, "required") == 0 || !check_window (text)
             ? NULL
             : "wanted required, yes, no or auto";
}

static bool
in_range (const char *text, long min, long max)
{
  char *end;
  long n;

  if (!isdigit ((unsigned char) text[0]))
    return false;
  errno = 0;
  n = strtol (text, &end, 10);
  return errno == 0 && *end == '\0' && n >= min && n <= max;
}

static const char *
check_threads (const char *text)
{
  return in_range (text, 1, 64) ? NULL : "wanted a number from 1 to 64";
}

static const char *
check_connections (const char *text)
{
  return strcmp (text, "auto") == 0 || in_range (text, 1, 64)
             ? NULL
             : "wanted auto or a number from 1 to 64";
}

static const char *
check_timeout (const char *text)
{
  return strcmp (text, "auto") == 0 || !check_seconds (text)
             ? NULL
             : "wanted auto or a time such as 1h";
}

static const char *
check_priority (const char *text)
{
  return in_range (text, 0, 32767) ? NULL : "wanted a number from 0 to 32767";
}

static const char *
check_discard (const char *text)
{
  return strcmp (text, "no") == 0 || strcmp (text, "once") == 0 ||
                 strcmp (text, "pages") == 0 || strcmp (text, "both") == 0
             ? NULL
             : "wanted no, once, pages or both";
}

static const char *
check_path (const char *text)
{
  /* A Unix socket's address holds 107 bytes and a NUL. */
  return text[0] == '/' && strlen (text) <= 100
             ? NULL
             : "wanted an absolute path of at most 100 bytes";
}

static const char *
check_nbd_device (const char *text)
{
  return strcmp (text, "auto") == 0 || (strncmp (text, "/dev/nbd", 8) == 0 &&
                                        in_range (text + 8, 0, 1 << 20))
             ? NULL
             : "wanted auto or a whole device such as /dev/nbd0";
}

static bool
parse_threshold (const char *text, int *percent)
{
  static const char word[] = "down-below=";
  char number[4];
  size_t n;

  if (strncmp (text, word, sizeof word - 1) != 0)
    return false;
  text += sizeof word - 1;
  n = strlen (text);
  if (n < 2 || n > 4 || text[n - 1] != '%')
    return false;
  memcpy (number, text, n - 1);
  number[n - 1] = '\0';
  if (!in_range (number, 1, 100))
    return false;
  *percent = atoi (number);
  return true;
}

static const char *
check_power (const char *text)
{
  int percent;

  return strcmp (text, "keep") == 0 || strcmp (text, "down-on-battery") == 0 ||
                 parse_threshold (text, &percent)
             ? NULL
             : "wanted keep, down-on-battery or down-below=N%";
}

static const char *
check_sleep (const char *text)
{
  return strcmp (text, "auto") == 0 || strcmp (text, "drain") == 0 ||
                 strcmp (text, "keep") == 0
             ? NULL
             : "wanted auto, drain or keep";
}

static const char *
check_when_full (const char *text)
{
  return strcmp (text, "inhibit") == 0 || strcmp (text, "keep") == 0
             ? NULL
             : "wanted inhibit or keep";
}

/* nbdkit takes what has a dot or a slash in it for a file. */
static const char *
check_plugin (const char *text)
{
  return text[0] == '/' || (text[0] != '\0' && !strpbrk (text, "./"))
             ? NULL
             : "wanted a name, or a file with its absolute path";
}

/* Handed to the plugin, which is the judge of it. */
static const char *
check_any (const char *text)
{
  return text[0] != '\0' ? NULL : "wanted a value";
}

static const char *
check_nothing (const char *text)
{
  (void) text;
  return NULL;
}

static const struct {
  const char *name;
  const char *value;
  enum conf_change when;
  const char *(*check) (const char *text);
} keys[CONF_KEYS] = {
  /* clang-format off */
  [CONF_SIZE] = { "size", "80%", CONF_AT_NEW_SERVER, check_size },
  [CONF_MIN_SIZE] = { "min-size", "512M", CONF_AT_NEW_SERVER, check_bytes },
  [CONF_HEADROOM] = { "headroom", "auto", CONF_AT_NEW_SERVER, check_headroom },
  [CONF_ELASTIC] = { "elastic", "no", CONF_AT_NEW_SERVER, check_yes_no },
  [CONF_LIMIT] = { "limit", "max", CONF_AT_NEW_SERVER, check_limit },
  [CONF_SPILL] = { "spill", CONF_SPILL_FOLDER, CONF_AT_NEW_SERVER, check_spill },
  [CONF_DEVICE] = { "device", "auto", CONF_AT_NEW_SERVER, check_any },
  [CONF_WINDOW] = { "window", "auto", CONF_AT_NEW_SERVER, check_window },
  [CONF_RESIDENT] = { "resident", "required", CONF_AT_NEW_SERVER, check_resident },
  [CONF_BOOST] = { "boost", "no", CONF_AT_NEW_SERVER, check_yes_no },
  [CONF_SCRUB] = { "scrub", "yes", CONF_AT_NEW_SERVER, check_yes_no },
  [CONF_GPU_TIMEOUT] = { "gpu-timeout", "20s", CONF_AT_NEW_SERVER, check_gpu_timeout },
  [CONF_PLUGIN] = { "plugin", PLUGIN_NAME, CONF_AT_NEW_SERVER, check_plugin },
  [CONF_PLUGIN_ARGS] = { "plugin-args", "", CONF_AT_NEW_SERVER, check_nothing },
  [CONF_THREADS] = { "threads", "1", CONF_AT_NEW_SERVER, check_threads },
  [CONF_SOCKET] = { "socket", "/run/vram-swap/server/nbd.sock", CONF_AT_NEW_SERVER, check_path },
  [CONF_START_TIMEOUT] = { "start-timeout", "60s", CONF_LIVE, check_start_timeout },
  [CONF_NBD_DEVICE] = { "nbd-device", "auto", CONF_AT_UP, check_nbd_device },
  [CONF_CONNECTIONS] = { "connections", "auto", CONF_AT_UP, check_connections },
  [CONF_TIMEOUT] = { "timeout", "auto", CONF_AT_UP, check_timeout },
  [CONF_OUTAGE_TIMEOUT] = { "outage-timeout", "10min", CONF_AT_UP, check_seconds },
  [CONF_PRIORITY] = { "priority", "1500", CONF_AT_UP, check_priority },
  [CONF_DISCARD] = { "discard", "pages", CONF_AT_UP, check_discard },
  [CONF_POWER_POLICY] = { "power-policy", "keep", CONF_LIVE, check_power },
  [CONF_SLEEP_POLICY] = { "sleep-policy", "auto", CONF_LIVE, check_sleep },
  [CONF_SLEEP_WHEN_FULL] = { "sleep-when-full", "inhibit", CONF_LIVE, check_when_full },
  [CONF_IDLE_DOWN] = { "idle-down", "0", CONF_LIVE, check_seconds },
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

const char *
conf_name (enum conf_key key)
{
  return keys[key].name;
}

const char *
conf_default (enum conf_key key)
{
  return keys[key].value;
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
  const char *wrong;
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
    blame (c, "%s:%u: sections are not used here, write KEY = VALUE", c->file,
           number);
    return;
  }
  value = strchr (name, '=');
  if (!value) {
    blame (c, "%s:%u: wanted KEY = VALUE", c->file, number);
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
  wrong = keys[key].check (value);
  if (wrong) {
    blame (c, "%s:%u: %s: %s, not '%s'", c->file, number, name, wrong, value);
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
    blame (c,
           "%s:%u: timeout: with several connections, 0 means the kernel's "
           "%d s: wanted auto or more than gpu-timeout (%lld s)",
           c->file, c->item[CONF_TIMEOUT].line, KERNELS_TIMEOUT, gpu);
  else
    blame (
        c,
        "%s:%u: timeout: wanted auto or more than gpu-timeout (%lld s), not "
        "'%s'",
        c->file, c->item[CONF_TIMEOUT].line, gpu, conf_text (c, CONF_TIMEOUT));
}

/* What no line can be blamed for without another one. */
static void
check_together (struct conf *c)
{
  const char *plugin = conf_text (c, CONF_PLUGIN);
  int64_t size;

  check_timeouts (c);
  if (conf_parse_bytes (conf_text (c, CONF_SIZE), &size) &&
      size < conf_number (c, CONF_MIN_SIZE))
    blame (c, "%s:%u: size: %s is less than min-size (%s)", c->file,
           c->item[CONF_SIZE].line, conf_text (c, CONF_SIZE),
           conf_text (c, CONF_MIN_SIZE));
  if (plugin[0] == '/' && access (plugin, F_OK) == -1)
    blame (c, "%s:%u: plugin: %s: %s", c->file, c->item[CONF_PLUGIN].line,
           plugin, strerror (errno));
}

/* Whoever else can write the file, or replace it, decides what root does. */
static bool
trusts (struct conf *c, const char *path, const struct stat *st)
{
  if (st->st_uid != 0)
    blame (c, "%s: not root's own, and so not read; chown root it", path);
  else if (st->st_mode & (S_IWGRP | S_IWOTH) && !(st->st_mode & S_ISVTX))
    blame (c,
           "%s: others than root may write it, so it is not read; chmod "
           "go-w it",
           path);
  else
    return true;
  return false;
}

static bool
trusts_folder (struct conf *c)
{
  char path[PATH_MAX], *slash;
  struct stat st;

  snprintf (path, sizeof path, "%s", c->file);
  slash = strrchr (path, '/');
  if (!slash)
    snprintf (path, sizeof path, ".");
  else
    slash[slash == path] = '\0';
  if (stat (path, &st) == -1) {
    blame (c, "%s: %s", path, strerror (errno));
    return false;
  }
  return trusts (c, path, &st);
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
  if (keys[key].check == check_bytes || keys[key].check == check_headroom ||
      keys[key].check == check_limit)
    conf_parse_bytes (text, &n);
  else if (keys[key].check == check_seconds ||
           keys[key].check == check_start_timeout ||
           keys[key].check == check_gpu_timeout)
    conf_parse_seconds (text, &n);
  else
    n = strtoll (text, NULL, 10);
  return n;
}

int
conf_battery_threshold (const struct conf *c)
{
  int percent;

  return parse_threshold (c->item[CONF_POWER_POLICY].value, &percent) ? percent
                                                                      : -1;
}

unsigned
conf_connections (const struct conf *c)
{
  long cpus;

  if (!conf_is (c, CONF_CONNECTIONS, "auto"))
    return conf_number (c, CONF_CONNECTIONS);
  /* Each is a queue and a sending thread of the kernel's and a thread of the
   * server's; HACKING.md says why not more than four.
   */
  cpus = sysconf (_SC_NPROCESSORS_CONF);
  return cpus < 1 ? 1 : cpus > 4 ? 4 : cpus;
}

unsigned
conf_timeout (const struct conf *c)
{
  int64_t n = 0;

  if (!conf_is (c, CONF_TIMEOUT, "auto")) {
    conf_parse_seconds (c->item[CONF_TIMEOUT].value, &n);
    return n;
  }
  /* Without one, the kernel waits for ever on a single connection, but counts
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
  char origin[600], line[700];

  for (unsigned k = 0; k < CONF_KEYS; k++) {
    print_origin (c, k, origin, sizeof origin);
    snprintf (line, sizeof line, "%s = %s", keys[k].name, c->item[k].value);
    fprintf (out, "%-40s # %s\n", line, origin);
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
