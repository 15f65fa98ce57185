/* nbdkit-vram: the machine's small files, below a root that tests can move
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "root.h"

const char *root_prefix = "";

const char *
root_path (const char *fmt, ...)
{
  static char buf[4][512];
  static unsigned next;
  char *path = buf[next++ % 4];
  int n = snprintf (path, sizeof buf[0], "%s", root_prefix);
  va_list args;

  if (n >= 0 && (size_t) n < sizeof buf[0]) {
    va_start (args, fmt);
    vsnprintf (path + n, sizeof buf[0] - n, fmt, args);
    va_end (args);
  }
  return path;
}

long
read_text (const char *path, char *buf, size_t size)
{
  size_t n = 0;
  ssize_t r = 0;
  int fd = open (path, O_RDONLY | O_CLOEXEC);

  if (fd == -1)
    return -1;
  while (n < size - 1) {
    r = read (fd, buf + n, size - 1 - n);
    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0)
      break;
    n += r;
  }
  close (fd);
  if (r == -1)
    return -1;
  if (n > 0 && buf[n - 1] == '\n')
    n--;
  buf[n] = '\0';
  return n;
}

bool
read_number (const char *path, int64_t *value)
{
  char text[32], *end;

  if (read_text (path, text, sizeof text) <= 0)
    return false;
  errno = 0;
  *value = strtoll (text, &end, 10);
  return errno == 0 && end != text && *end == '\0';
}

bool
lines_open (struct lines *l, const char *path, char *buf, size_t size)
{
  *l = (struct lines){ .buf = buf, .size = size };
  l->fd = open (path, O_RDONLY | O_CLOEXEC);
  return l->fd != -1;
}

void
lines_close (struct lines *l)
{
  if (l->fd != -1)
    close (l->fd);
  l->fd = -1;
}

/* Reads more of the file.  False at its end. */
static bool
lines_fill (struct lines *l)
{
  ssize_t r;

  memmove (l->buf, l->buf + l->begin, l->end - l->begin);
  l->end -= l->begin;
  l->begin = 0;
  do
    r = read (l->fd, l->buf + l->end, l->size - 1 - l->end);
  while (r == -1 && errno == EINTR);
  if (r > 0)
    l->end += r;
  return r > 0;
}

char *
lines_next (struct lines *l)
{
  while (l->fd != -1) {
    char *line = l->buf + l->begin;
    char *end = memchr (line, '\n', l->end - l->begin);
    bool rest = l->cut;

    if (end)
      l->begin = end + 1 - l->buf;
    else if (l->begin == 0 && l->end == l->size - 1) {
      /* Full, and no end of the line in sight. */
      end = l->buf + l->end;
      l->begin = l->end = 0;
      l->cut = true;
    }
    else if (lines_fill (l))
      continue;
    else {
      end = l->buf + l->end;
      line = l->buf + l->begin;
      lines_close (l);
      if (line == end)
        break;
    }
    *end = '\0';
    if (end < l->buf + l->size - 1)
      l->cut = false;
    if (!rest)
      return line;
  }
  return NULL;
}

bool
read_field (const char *path, const char *name, char *value, size_t size)
{
  const size_t n = strlen (name);
  struct lines l;
  char buf[4096];
  const char *line;

  if (!lines_open (&l, path, buf, sizeof buf))
    return false;
  while ((line = lines_next (&l)) != NULL)
    if (strncmp (line, name, n) == 0) {
      line += n;
      line += strspn (line, " \t");
      snprintf (value, size, "%s", line);
      lines_close (&l);
      return true;
    }
  return false;
}

bool
read_field_kib (const char *path, const char *name, int64_t *bytes)
{
  char value[64], *end;
  long long n;

  if (!read_field (path, name, value, sizeof value))
    return false;
  n = strtoll (value, &end, 10);
  if (end == value)
    return false;
  *bytes = (int64_t) n * 1024;
  return true;
}

int
write_text (const char *path, const char *text)
{
  char new[520];
  size_t n = strlen (text);
  int fd, err;

  snprintf (new, sizeof new, "%s.new", path);
  fd = open (new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd == -1)
    return -1;
  /* Independent of the umask: every user may read whether swap is on. */
  if (fchmod (fd, 0644) == -1 || write (fd, text, n) != (ssize_t) n) {
    err = errno ? errno : EIO;
    close (fd);
    goto err;
  }
  if (close (fd) == -1 || rename (new, path) == -1) {
    err = errno;
    goto err;
  }
  return 0;

err:
  unlink (new);
  errno = err;
  return -1;
}

bool
file_exists (const char *path)
{
  return access (path, F_OK) == 0;
}
