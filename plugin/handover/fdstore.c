/* nbdkit-vram: the service manager's descriptor store
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "handover/fdstore.h"

/* How long the manager may take, seconds. */
#define PATIENCE 10

/* Where the manager listens: a path, or a name after @.  (There are managers
 * on the other side of a virtual machine, too; they take no descriptors.)
 */
static const char *
manager (void)
{
  const char *name = getenv ("NOTIFY_SOCKET");

  return name && (name[0] == '/' || name[0] == '@') && name[1] ? name : NULL;
}

bool
fdstore_exists (void)
{
  return manager () != NULL;
}

static int
connect_manager (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  const struct timeval patience = { .tv_sec = PATIENCE };
  const char *name = manager ();
  size_t length = strlen (name);
  int fd, saved;

  if (length >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy (address.sun_path, name, length);
  if (name[0] == '@')
    address.sun_path[0] = '\0';
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1)
    return -1;
  if (setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) ==
          -1 ||
      connect (fd, (struct sockaddr *) &address,
               (socklen_t) (offsetof (struct sockaddr_un, sun_path) +
                            length)) == -1) {
    saved = errno;
    close (fd);
    errno = saved;
    return -1;
  }
  return fd;
}

/* Send TEXT, with FD unless that is -1. */
static int
tell (const char *text, int fd)
{
  /* A union, so that the control message is aligned. */
  union {
    char space[CMSG_SPACE (sizeof (int))];
    struct cmsghdr align;
  } control;
  struct iovec iov = { .iov_base = (char *) text, .iov_len = strlen (text) };
  struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
  int to, saved;
  ssize_t r;

  if (fd != -1) {
    struct cmsghdr *header;

    memset (&control, 0, sizeof control);
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    header = CMSG_FIRSTHDR (&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN (sizeof fd);
    memcpy (CMSG_DATA (header), &fd, sizeof fd);
  }

  to = connect_manager ();
  if (to == -1)
    return -1;
  do
    r = sendmsg (to, &message, MSG_NOSIGNAL);
  while (r == -1 && errno == EINTR);
  saved = errno;
  close (to);
  errno = saved;
  return r == -1 ? -1 : 0;
}

int
fdstore_put (const char *name, int fd)
{
  char text[128];

  /* Not polled: the manager would drop a descriptor that poll has an error
   * for, and a GPU's may have any.
   */
  snprintf (text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
  if (tell (text, fd) == -1) {
    log_error ("cannot hand %s to the service manager: %m", name);
    return -1;
  }
  return 0;
}

int
fdstore_remove (const char *name)
{
  char text[128];

  snprintf (text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
  if (tell (text, -1) == -1) {
    log_error ("cannot have the service manager close %s: %m", name);
    return -1;
  }
  return 0;
}

int
fdstore_wait (void)
{
  struct pollfd end;
  int fds[2], r;

  if (pipe (fds) == -1) {
    log_error ("pipe: %m");
    return -1;
  }
  /* The manager closes its end when it gets there, which hangs up ours. */
  r = tell ("BARRIER=1", fds[1]);
  close (fds[1]);
  if (r == 0) {
    end = (struct pollfd){ .fd = fds[0] };
    do
      r = poll (&end, 1, PATIENCE * 1000);
    while (r == -1 && errno == EINTR);
    if (r == 0)
      errno = ETIMEDOUT;
    r = r == 1 ? 0 : -1;
  }
  if (r == -1)
    log_error ("the service manager does not take what it is told: %m");
  close (fds[0]);
  return r;
}

void
fdstore_ready (const char *status)
{
  char text[256];

  if (!fdstore_exists ())
    return;
  snprintf (text, sizeof text, "READY=1\nSTATUS=%s", status);
  if (tell (text, -1) == -1)
    log_debug ("cannot tell the service manager that the disk is ready: %m");
}
