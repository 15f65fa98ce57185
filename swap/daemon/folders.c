/* nbdkit-vram: the folders that the server needs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "msg.h"
#include "root.h"

int
folders_make_socket (const struct daemon *d)
{
  const struct unprivileged *u = &d->server.user;
  char folder[512];
  char *slash;

  snprintf (folder, sizeof folder, "%s", d->server.socket);
  slash = strrchr (folder, '/');
  if (!slash || slash == folder)
    return 0;
  *slash = '\0';
  if (mkdir (folder, 0700) == -1) {
    if (errno == EEXIST)
      return 0;
    log_error ("%s: %m", folder);
    return -1;
  }
  if (!u->same && chown (folder, u->uid, u->gid) == -1) {
    log_error ("%s: %m", folder);
    return -1;
  }
  return 0;
}

void
folders_make_spill (const struct daemon *d)
{
  const struct unprivileged *u = &d->server.user;
  const char *folder = root_path (CONF_SPILL_FOLDER);

  if (conf_is (d->conf, CONF_ELASTIC, "no") ||
      !conf_is (d->conf, CONF_SPILL, CONF_SPILL_FOLDER))
    return;
  if ((mkdir (folder, 0700) == -1 && errno != EEXIST) ||
      (!u->same && chown (folder, u->uid, u->gid) == -1))
    log_warning ("%s: %m", folder);
}
