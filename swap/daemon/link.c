/* nbdkit-vram: the connections between the kernel's device and the server
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * When a server dies, the kernel's nbd driver loses each connection.  New
 * requests, and those that could not be sent, wait for a new connection for
 * NBD_ATTR_DEAD_CONN_TIMEOUT, and then fail.  Requests that were sent and not
 * answered wait for their own time-out, which finds the new connection and
 * sends them again.  So both times matter, see nbd_hold ().
 *
 * With one connection and no time-out a request that was sent never fails by
 * itself: its time-out only looks for a new connection, again and again.  And
 * a waiting request keeps the NBD_ATTR_DEAD_CONN_TIMEOUT with which its wait
 * began.  So link_fail () sets that to 0, sets a short time-out, and connects
 * sockets that answer nothing until all waiting requests were sent there.
 * These then fail one after the other.
 *
 * At the end of a shutdown the server is killed while swap may still be on,
 * and systemd-shutdown's swapoff would wait forever for a request that was
 * sent, and long for any other. link_expect_end () limits both before.
 *
 * While swap is on, a server is connected only if its disk begins with that
 * swap, by its UUID.  An empty disk of the same size does not.
 *
 * New connections are not read over, as nbd_verify () does before swap is on.
 * A connection without a receiver costs its time-out, is lost, and is replaced
 * like any other.
 */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"
#include "server.h"

/* For a handshake, or an answer.  The server is there and has nothing else to
 * do; when it takes longer it is tried again.
 */
#define ANSWER_MS 2000

/* How long a server may take for a request, in seconds: when there is none,
 * and when the machine goes off.
 */
#define FAIL_S 1
#define LAST_S 10

static void
close_all (const int *fds, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    close (fds[i]);
}

/* Reads what is on the disk at the other end of FD. */
static enum link_result
read_id (int fd, char *id)
{
  static char start[SWAP_START];

  if (server_read (fd, start, sizeof start, ANSWER_MS) == -1)
    return LINK_NO_SERVER;
  return swap_identify (start, id) ? LINK_DONE : LINK_WRONG_SERVER;
}

static enum link_result
check_disk (struct link *l, int fd)
{
  char id[SWAP_ID + 1];
  enum link_result result = read_id (fd, id);

  if (result != LINK_DONE)
    return result;
  if (!l->disk[0])
    memcpy (l->disk, id, sizeof id);
  return strcmp (l->disk, id) == 0 ? LINK_DONE : LINK_WRONG_SERVER;
}

enum link_result
link_connect (struct link *l, struct nbd_netlink *nl)
{
  enum link_result result = LINK_DONE;
  int fds[NBD_SOCKETS_MAX] = { -1 }, saved;
  struct server s;
  unsigned n = 0;

  link_fail_end (l);
  while (n < l->connections && n < NBD_SOCKETS_MAX && result == LINK_DONE) {
    fds[n] = server_connect (l->socket, ANSWER_MS, &s);
    if (fds[n] == -1)
      break;
    if (s.size != l->size)
      result = LINK_WRONG_SERVER;
    else if (l->swap_on)
      result = check_disk (l, fds[n]);
    n++;
  }
  if (n < l->connections && result == LINK_DONE)
    result = LINK_NO_SERVER;
  if (result == LINK_DONE &&
      nbd_netlink_reconnect (nl, l->device, fds, n) == -1)
    result = LINK_REFUSED;
  saved = errno;
  close_all (fds, n);
  errno = saved;
  return result;
}

bool
link_identify (struct link *l)
{
  struct server s;
  const int fd = server_connect (l->socket, ANSWER_MS, &s);
  enum link_result result;

  if (fd == -1)
    return false;
  result = read_id (fd, l->disk);
  close (fd);
  if (result != LINK_DONE)
    l->disk[0] = '\0';
  return result == LINK_DONE;
}

int
link_fail (struct link *l, struct nbd_netlink *nl)
{
  int fds[NBD_SOCKETS_MAX] = { -1 }, pair[2], saved, r;
  unsigned n = 0;

  link_fail_end (l);
  if (nbd_netlink_set_limits (nl, l->device, 0, FAIL_S) == -1)
    return -1;
  while (n < l->connections && n < NBD_SOCKETS_MAX &&
         socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
    l->mute[l->mutes++] = pair[1];
    fds[n++] = pair[0];
  }
  r = nbd_netlink_reconnect (nl, l->device, fds, n);
  saved = errno;
  close_all (fds, n);
  errno = saved;
  return r;
}

void
link_fail_end (struct link *l)
{
  close_all (l->mute, l->mutes);
  l->mutes = 0;
}

int
link_expect_end (const struct link *l, struct nbd_netlink *nl)
{
  return nbd_netlink_set_limits (nl, l->device, 0, LAST_S);
}
