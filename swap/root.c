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
  /* Whatever the umask: the server's user, too, reads whether swap is on. */
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
