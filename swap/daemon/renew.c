/* nbdkit-vram: the daemon becomes the program that is installed now
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon.h"
#include "descriptors.h"
#include "msg.h"
#include "options.h"

void
daemon_renew (struct daemon *d, char **argv)
{
  static char fds[16], names[DESCRIPTORS_MAX * 40], pid[16];
  char path[512];
  struct stat now, mine;
  size_t used = 0;
  ssize_t n = readlink ("/proc/self/exe", path, sizeof path - 1);

  if (n <= 0)
    return;
  path[n] = '\0';
  if (strstr (path, " (deleted)"))
    *strstr (path, " (deleted)") = '\0';
  if (stat (path, &now) == -1 || stat ("/proc/self/exe", &mine) == -1 ||
      (now.st_ino == mine.st_ino && now.st_dev == mine.st_dev) ||
      access (path, X_OK) == -1)
    return;
  log_info ("executing the newly installed vram-swap");
  runstate_write (&d->st);
  /* As systemd passes them, from 3 on: first move all out of the way. */
  for (size_t i = 0; i < d->server.kept.n; i++) {
    struct descriptor *one = &d->server.kept.one[i];
    const int fd = fcntl (one->fd, F_DUPFD_CLOEXEC, 3 + DESCRIPTORS_MAX);

    if (fd == -1)
      return;
    close (one->fd);
    one->fd = fd;
    used += snprintf (names + used, sizeof names - used, "%s%s", i ? ":" : "",
                      one->name);
  }
  snprintf (fds, sizeof fds, "%zu", d->server.kept.n);
  snprintf (pid, sizeof pid, "%ld", (long) getpid ());
  setenv ("LISTEN_FDS", fds, 1);
  setenv ("LISTEN_FDNAMES", names, 1);
  setenv ("LISTEN_PID", pid, 1);
  sigprocmask (SIG_SETMASK, &d->server.mask, NULL);
  for (size_t i = 0; i < d->server.kept.n; i++)
    dup2 (d->server.kept.one[i].fd, 3 + i);
  closefrom (3 + d->server.kept.n);
  execv (path, argv);
  /* The descriptors are closed: only a new daemon can continue. */
  log_to = msg_to_user;
  log_error ("%s: %m", path);
  _exit (EXIT_NEXT);
}
