/* nbdkit-vram: stubs of nbdkit's functions, for tests without nbdkit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/log.h"
#include "nbdkit-stubs.h"

struct messages {
  unsigned count;
  size_t used;
  char text[64 * 1024];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct messages errors, debugs;
static sa_family_t peer_family = AF_UNIX;
static int64_t peer_uid;

static void
keep (struct messages *to, const char *fmt, va_list args)
{
  char line[1024];
  int saved = errno, n;

  n = vsnprintf (line, sizeof line, fmt, args);
  if (n >= (int) sizeof line)
    n = sizeof line - 1;
  pthread_mutex_lock (&lock);
  to->count++;
  if (n > 0 && to->used + (size_t) n + 2 < sizeof to->text) {
    memcpy (to->text + to->used, line, (size_t) n);
    to->used += (size_t) n;
    to->text[to->used++] = '\n';
    to->text[to->used] = '\0';
  }
  pthread_mutex_unlock (&lock);
  if (getenv ("VRAM_STUB_VERBOSE"))
    fprintf (stderr, "%s: %s\n", to == &errors ? "error" : "debug", line);
  /* nbdkit's functions preserve errno, and plugins rely on that. */
  errno = saved;
}

/* Messages of the code under test.  Warnings and information are kept with the
 * errors, after the name of their level.
 */
static void
keep_log (enum log_level level, const char *format, va_list args)
{
  char named[256];

  if (level == LOG_LEVEL_WARNING || level == LOG_LEVEL_INFO) {
    snprintf (named, sizeof named, "%s: %s", log_level_name (level), format);
    format = named;
  }
  keep (level == LOG_LEVEL_DEBUG ? &debugs : &errors, format, args);
}

static void __attribute__ ((constructor)) set_log_sink (void)
{
  log_to = keep_log;
}

const char *
stub_errors (void)
{
  return errors.text;
}

unsigned
stub_errors_count (void)
{
  unsigned count;

  pthread_mutex_lock (&lock);
  count = errors.count;
  pthread_mutex_unlock (&lock);
  return count;
}

const char *
stub_debugs (void)
{
  return debugs.text;
}

void
stub_messages_clear (void)
{
  errors.count = debugs.count = 0;
  errors.used = debugs.used = 0;
  errors.text[0] = debugs.text[0] = '\0';
}

void
stub_set_peer (sa_family_t family, int64_t uid)
{
  peer_family = family;
  peer_uid = uid;
}

void
nbdkit_error (const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  keep (&errors, fs, args);
  va_end (args);
}

void
nbdkit_verror (const char *fs, va_list args)
{
  keep (&errors, fs, args);
}

void
nbdkit_debug (const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  keep (&debugs, fs, args);
  va_end (args);
}

void
nbdkit_vdebug (const char *fs, va_list args)
{
  keep (&debugs, fs, args);
}

/* Sizes as nbdkit's manual describes them: a decimal number and one of
 * bkMGTPE, or s for sectors of 512 bytes, the letters in either case.
 */
int64_t
nbdkit_parse_size (const char *str)
{
  static const char suffixes[] = "bkmgtpe";
  const char *suffix;
  uint64_t unit = 1, n;
  char *end;

  errno = 0;
  n = strtoull (str, &end, 10);
  if (end == str || errno || strchr (str, '-') || n > INT64_MAX)
    goto err;
  if (*end == '\0')
    return (int64_t) n;
  if (end[1] != '\0')
    goto err;
  if (*end == 's' || *end == 'S')
    unit = 512;
  else {
    suffix = strchr (suffixes, *end | 0x20);
    if (suffix == NULL)
      goto err;
    unit <<= 10 * (suffix - suffixes);
  }
  if (n > INT64_MAX / unit)
    goto err;
  return (int64_t) (n * unit);

err:
  nbdkit_error ("could not parse size string (%s)", str);
  return -1;
}

int
nbdkit_parse_bool (const char *str)
{
  static const char *const yes[] = { "1", "true", "t", "yes", "y", "on" };
  static const char *const no[] = { "0", "false", "f", "no", "n", "off" };

  for (size_t i = 0; i < sizeof yes / sizeof yes[0]; ++i) {
    if (strcasecmp (str, yes[i]) == 0)
      return 1;
    if (strcasecmp (str, no[i]) == 0)
      return 0;
  }
  nbdkit_error ("could not decipher boolean (%s)", str);
  return -1;
}

int
nbdkit_parse_unsigned (const char *what, const char *str, unsigned *r)
{
  unsigned long n;
  char *end;

  errno = 0;
  n = strtoul (str, &end, 0);
  if (end == str || *end != '\0' || errno || strchr (str, '-') ||
      n > UINT32_MAX) {
    nbdkit_error ("%s: could not parse number: \"%s\"", what, str);
    return -1;
  }
  *r = (unsigned) n;
  return 0;
}

int
nbdkit_peer_name (struct sockaddr *addr, socklen_t *addrlen)
{
  struct sockaddr_storage name;

  memset (&name, 0, sizeof name);
  name.ss_family = peer_family;
  memcpy (addr, &name, *addrlen < sizeof name ? *addrlen : sizeof name);
  *addrlen = sizeof (struct sockaddr_un);
  return 0;
}

int64_t
nbdkit_peer_uid (void)
{
  return peer_uid;
}

int
nbdkit_stdio_safe (void)
{
  return 1;
}

/* nbdkit keeps interned strings until it ends.  The tests have one. */
const char *
nbdkit_printf_intern (const char *fmt, ...)
{
  static char text[512];
  va_list args;

  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  return text;
}

int
nbdkit_add_extent (struct nbdkit_extents *extents, uint64_t offset,
                   uint64_t length, uint32_t type)
{
  size_t i = extents->count;

  if (i < sizeof extents->extent / sizeof extents->extent[0]) {
    extents->extent[i].offset = offset;
    extents->extent[i].length = length;
    extents->extent[i].type = type;
    extents->count++;
  }
  return 0;
}
