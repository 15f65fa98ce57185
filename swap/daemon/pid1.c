/* nbdkit-vram: keeps the service manager itself out of swap
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"
#include "pid1.h"
#include "root.h"

static void
write_limit (const char *value)
{
  const char *path = root_path (PID1_SWAP_MAX);
  const int fd = open (path, O_WRONLY | O_CLOEXEC);
  const ssize_t n = strlen (value);

  if (fd == -1 || write (fd, value, n) != n)
    log_warning ("%s: %m", path);
  if (fd != -1)
    close (fd);
}

void
pid1_keep_in_ram (char *before, size_t size)
{
  char now[32];

  /* It is missing without systemd, and with cgroups of version 1. */
  if (read_text (root_path (PID1_SWAP_MAX), now, sizeof now) <= 0)
    return;
  /* After a daemon that died, it is the limit already. */
  if (before[0] && strcmp (now, "0") == 0)
    return;
  strncpy (before, now, size - 1);
  before[size - 1] = '\0';
  write_limit ("0");
}

void
pid1_restore (const char *before)
{
  if (before[0])
    write_limit (before);
}
