/* nbdkit-vram: what a server tells the process that started it (sd_notify)
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "msg.h"
#include "notify.h"

/* Room for the sender's credentials and the descriptors. */
union control {
  char space[CMSG_SPACE (sizeof (struct ucred)) +
             CMSG_SPACE (sizeof (int) * NOTIFY_FDS_MAX)];
  struct cmsghdr align;
};

int
notify_listen (const char *path)
{
  struct sockaddr_un a = { .sun_family = AF_UNIX };
  const size_t length = strlen (path);
  const int on = 1;
  mode_t mask;
  int fd, r;

  if (length >= sizeof a.sun_path) {
    log_error ("%s: socket path too long", path);
    return -1;
  }
  memcpy (a.sun_path, path, length + 1);
  /* A daemon that was killed has left it. */
  unlink (path);
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  /* Other users could fill it, and the server's messages would not fit. */
  mask = umask (0077);
  r = fd == -1 ? -1 : bind (fd, (struct sockaddr *) &a, sizeof a);
  umask (mask);
  if (r == -1 ||
      setsockopt (fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == -1) {
    log_error ("cannot listen to the server on %s: %m", path);
    if (fd != -1)
      close (fd);
    return -1;
  }
  return fd;
}

int
notify_receive (int fd, struct notice *n)
{
  union control control;
  struct iovec iov = { .iov_base = n->text, .iov_len = sizeof n->text - 1 };
  struct msghdr m = {
    .msg_iov = &iov,
    .msg_iovlen = 1,
    .msg_control = control.space,
    .msg_controllen = sizeof control.space,
  };
  struct cmsghdr *c;
  ssize_t r;

  r = recvmsg (fd, &m, MSG_CMSG_CLOEXEC);
  if (r == -1)
    return 0;
  n->text[r] = '\0';
  n->n = 0;
  n->sender = 0;
  for (c = CMSG_FIRSTHDR (&m); c; c = CMSG_NXTHDR (&m, c)) {
    if (c->cmsg_level != SOL_SOCKET)
      continue;
    if (c->cmsg_type == SCM_RIGHTS) {
      n->n = (c->cmsg_len - CMSG_LEN (0)) / sizeof (int);
      memcpy (n->fds, CMSG_DATA (c), n->n * sizeof (int));
    }
    else if (c->cmsg_type == SCM_CREDENTIALS) {
      struct ucred sender;

      memcpy (&sender, CMSG_DATA (c), sizeof sender);
      n->sender = sender.pid;
    }
  }
  return 1;
}

const char *
notify_value (const struct notice *n, const char *name, char *buf, size_t size)
{
  const size_t length = strlen (name);

  for (const char *line = n->text; line; line = strchr (line, '\n')) {
    if (*line == '\n')
      line++;
    if (strncmp (line, name, length) == 0 && line[length] == '=') {
      line += length + 1;
      snprintf (buf, size, "%.*s", (int) strcspn (line, "\n"), line);
      return buf;
    }
  }
  return NULL;
}
