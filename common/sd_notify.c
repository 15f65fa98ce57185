/* nbdkit-vram: messages to a service manager, as sd_notify(3) describes them
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/sd_notify.h"

#define PATIENCE_S 10

const char *
sd_notify_address (void)
{
  const char *name = getenv ("NOTIFY_SOCKET");

  return name && (name[0] == '/' || name[0] == '@') && name[1] ? name : NULL;
}

/* Put FDS into MESSAGE, whose control buffer is large enough for them. */
static void
attach (struct msghdr *message, const int *fds, unsigned count)
{
  struct cmsghdr *header;

  message->msg_controllen = CMSG_SPACE (count * sizeof *fds);
  header = CMSG_FIRSTHDR (message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN (count * sizeof *fds);
  memcpy (CMSG_DATA (header), fds, count * sizeof *fds);
}

int
sd_notify_send (const char *address, const char *text, const int *fds,
                unsigned count, bool wait)
{
  struct sockaddr_un to = { .sun_family = AF_UNIX };
  const struct timeval patience = { .tv_sec = PATIENCE_S };
  const size_t length = strlen (address);
  /* A union, so that the control message is aligned. */
  union {
    char space[CMSG_SPACE (SD_NOTIFY_FDS_MAX * sizeof (int))];
    struct cmsghdr align;
  } control = { { 0 } };
  struct iovec iov = { .iov_base = (char *) text, .iov_len = strlen (text) };
  struct msghdr message = {
    .msg_name = &to,
    .msg_namelen =
        (socklen_t) (offsetof (struct sockaddr_un, sun_path) + length),
    .msg_iov = &iov,
    .msg_iovlen = 1,
  };
  int fd, saved;
  ssize_t r;

  if (length >= sizeof to.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  if (length == 0 || count > SD_NOTIFY_FDS_MAX) {
    errno = EINVAL;
    return -1;
  }
  memcpy (to.sun_path, address, length);
  if (address[0] == '@')
    to.sun_path[0] = '\0';
  if (count > 0) {
    message.msg_control = control.space;
    attach (&message, fds, count);
  }
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1)
    return -1;
  setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  do
    r = sendmsg (fd, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
  while (r == -1 && errno == EINTR);
  saved = errno;
  close (fd);
  errno = saved;
  return r == -1 ? -1 : 0;
}

int
sd_notify_barrier (const char *address)
{
  struct pollfd end;
  int fds[2], r, saved;

  if (pipe2 (fds, O_CLOEXEC) == -1)
    return -1;
  /* The manager closes its end when it reaches this message, which hangs up
   * ours.
   */
  r = sd_notify_send (address, "BARRIER=1", &fds[1], 1, true);
  saved = errno;
  close (fds[1]);
  errno = saved;
  if (r == 0) {
    end = (struct pollfd){ .fd = fds[0] };
    do
      r = poll (&end, 1, PATIENCE_S * 1000);
    while (r == -1 && errno == EINTR);
    if (r == 0)
      errno = ETIMEDOUT;
    r = r == 1 ? 0 : -1;
  }
  saved = errno;
  close (fds[0]);
  errno = saved;
  return r;
}
