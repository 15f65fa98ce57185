/* nbdkit-vram: /run/vram-swap/control, where commands talk to the daemon
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control-socket.h"
#include "msg.h"
#include "root.h"

static char line[CONTROL_LINE_MAX];

static bool
make_address (struct sockaddr_un *a)
{
  const char *path = root_path (CONTROL_SOCKET);

  *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
  if (strlen (path) >= sizeof a->sun_path) {
    errno = ENAMETOOLONG;
    return false;
  }
  memcpy (a->sun_path, path, strlen (path) + 1);
  return true;
}

int
control_open (struct control *c, gid_t group)
{
  struct sockaddr_un a;
  mode_t mask;
  int r = -1;

  for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
    c->client[i].fd = -1;
  c->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (c->fd != -1 && make_address (&a)) {
    unlink (a.sun_path);
    mask = umask (0117);
    r = bind (c->fd, (struct sockaddr *) &a, sizeof a);
    umask (mask);
    if (r == 0 && geteuid () == 0)
      r = chown (a.sun_path, 0, group);
  }
  if (r == -1 || listen (c->fd, CONTROL_CLIENTS) == -1) {
    log_error ("%s: %m", root_path (CONTROL_SOCKET));
    return -1;
  }
  return 0;
}

struct client *
control_accept (struct control *c)
{
  struct ucred peer;
  socklen_t n = sizeof peer;
  bool root = false;
  int fd = accept4 (c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

  if (fd == -1)
    return NULL;
  if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0)
    root = peer.uid == 0 || peer.uid == geteuid ();
  for (unsigned i = root ? 0 : CONTROL_ROOT; i < CONTROL_CLIENTS; i++)
    if (c->client[i].fd == -1) {
      memset (&c->client[i], 0, sizeof c->client[i]);
      c->client[i].fd = fd;
      c->client[i].root = root;
      return &c->client[i];
    }
  close (fd);
  return NULL;
}

bool
control_receive (struct client *client)
{
  ssize_t n;

  n = recv (client->fd, client->line + client->used,
            sizeof client->line - client->used, MSG_DONTWAIT);
  if (n == -1 && (errno == EAGAIN || errno == EINTR))
    return true;
  /* A line that is too long leaves no room: n is 0 then, too. */
  if (n <= 0)
    return false;
  client->used += n;
  return true;
}

char *
control_next_line (struct client *client, size_t *n)
{
  const char *end = memchr (client->line, '\n', client->used);

  if (!end)
    return NULL;
  *n = end - client->line;
  memcpy (line, client->line, *n);
  line[*n] = '\0';
  client->used -= *n + 1;
  memmove (client->line, end + 1, client->used);
  return line;
}

static void
put (struct client *client, const char *text, size_t n)
{
  if (client->fd != -1 &&
      send (client->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t) n)
    /* Its end is met by the next look at it. */
    shutdown (client->fd, SHUT_RDWR);
}

void
control_send (struct client *client, struct json *j)
{
  const long n = json_line (j, line, sizeof line);

  if (n > 0)
    put (client, line, n);
}

void
control_answer (struct client *client, int status, const char *why)
{
  struct json j;

  json_begin (&j);
  if (why)
    json_add_string (&j, "error", why);
  else
    json_add_bool (&j, "ok", status == EXIT_OK);
  json_add_number (&j, "status", status);
  control_send (client, &j);
}

void
control_tell_all (struct control *c, struct json *j)
{
  const long n = json_line (j, line, sizeof line);

  for (unsigned i = 0; i < CONTROL_CLIENTS && n > 0; i++)
    if (c->client[i].listens || c->client[i].waits)
      put (&c->client[i], line, n);
}

void
control_drop (struct client *client)
{
  close (client->fd);
  *client = (struct client){ .fd = -1 };
}

int
control_connect (void)
{
  struct sockaddr_un a;
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (fd == -1 || !make_address (&a) ||
      connect (fd, (struct sockaddr *) &a, sizeof a) == -1) {
    if (fd != -1)
      close (fd);
    return -1;
  }
  return fd;
}
