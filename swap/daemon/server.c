/* nbdkit-vram: the NBD server as its clients see it
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The few messages of a handshake, as in the NBD protocol's document
 * (doc/proto.md of the nbd project).  All numbers are big-endian.
 */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "msg.h"
#include "run.h"
#include "server.h"

#define NBDMAGIC         UINT64_C (0x4e42444d41474943)
#define IHAVEOPT         UINT64_C (0x49484156454f5054)
#define REPLY_MAGIC      UINT64_C (0x0003e889045565a9)
#define FLAG_NEWSTYLE    1u
#define FLAG_NO_ZEROES   2u
#define OPT_ABORT        2u
#define OPT_INFO         6u
#define OPT_GO           7u
#define REP_ACK          1u
#define REP_INFO         3u
#define INFO_EXPORT      0u
#define INFO_DESCRIPTION 2u
#define EXPORT_MULTI     (1u << 8)

#define REQUEST_MAGIC      UINT32_C (0x25609513)
#define SIMPLE_REPLY_MAGIC UINT32_C (0x67446698)
#define CMD_READ           0

/* Moves exactly N bytes or fails; errno is ETIMEDOUT at the deadline. */
static int
transfer (int fd, void *buf, size_t n, bool out, long long deadline)
{
  char *p = buf;

  while (n > 0) {
    struct pollfd pfd = { .fd = fd, .events = out ? POLLOUT : POLLIN };
    long long left = deadline - now_ms ();
    ssize_t r;

    if (left <= 0 || interrupted ()) {
      errno = ETIMEDOUT;
      return -1;
    }
    if (poll (&pfd, 1, left < 200 ? (int) left : 200) <= 0)
      continue;
    r = out ? send (fd, p, n, MSG_NOSIGNAL) : recv (fd, p, n, 0);
    if (r == -1 && (errno == EINTR || errno == EAGAIN))
      continue;
    if (r == 0)
      errno = ECONNRESET;
    if (r <= 0)
      return -1;
    p += r;
    n -= r;
  }
  return 0;
}

static int
send_option (int fd, uint32_t option, const void *data, uint32_t n,
             long long deadline)
{
  struct __attribute__ ((packed)) {
    uint64_t magic;
    uint32_t option, length;
    char data[32];
  } m = { htobe64 (IHAVEOPT), htobe32 (option), htobe32 (n), { 0 } };

  if (n > 0)
    memcpy (m.data, data, n);
  return transfer (fd, &m, sizeof m - sizeof m.data + n, true, deadline);
}

/* One INFO reply's payload into S. */
static void
take_info (struct server *s, const unsigned char *data, size_t n)
{
  uint16_t type, flags;
  uint64_t size;

  if (n < 2)
    return;
  memcpy (&type, data, 2);
  type = be16toh (type);
  if (type == INFO_EXPORT && n >= 12) {
    memcpy (&size, data + 2, 8);
    memcpy (&flags, data + 10, 2);
    flags = be16toh (flags);
    s->size = be64toh (size);
    s->multi_conn = flags & EXPORT_MULTI;
  }
  else if (type == INFO_DESCRIPTION) {
    snprintf (s->description, sizeof s->description, "%.*s", (int) n - 2,
              (const char *) data + 2);
  }
}

/* OPTION is OPT_INFO, to ask and go away, or OPT_GO, to stay. */
static int
handshake (int fd, uint32_t option, struct server *s, long long deadline)
{
  struct __attribute__ ((packed)) {
    uint64_t magic, version;
    uint16_t flags;
  } hello;
  struct __attribute__ ((packed)) {
    uint64_t magic;
    uint32_t option, type, length;
  } reply;
  /* The default export's name (of no length), and one thing asked for. */
  static const unsigned char ask[] = { 0, 0, 0, 0, 0, 1, 0, INFO_DESCRIPTION };
  unsigned char data[4096];
  uint32_t flags, n;

  if (transfer (fd, &hello, sizeof hello, false, deadline) == -1)
    return -1;
  if (be64toh (hello.magic) != NBDMAGIC || be64toh (hello.version) != IHAVEOPT)
    goto bad;
  flags = htobe32 (be16toh (hello.flags) & (FLAG_NEWSTYLE | FLAG_NO_ZEROES));
  if (transfer (fd, &flags, sizeof flags, true, deadline) == -1 ||
      send_option (fd, option, ask, sizeof ask, deadline) == -1)
    return -1;

  for (unsigned i = 0; i < 16; i++) {
    if (transfer (fd, &reply, sizeof reply, false, deadline) == -1)
      return -1;
    n = be32toh (reply.length);
    if (be64toh (reply.magic) != REPLY_MAGIC || n > sizeof data)
      goto bad;
    if (transfer (fd, data, n, false, deadline) == -1)
      return -1;
    if (be32toh (reply.type) == REP_INFO)
      take_info (s, data, n);
    else if (be32toh (reply.type) == REP_ACK) {
      /* Polite, and spares the server a line in its log. */
      if (option == OPT_INFO)
        send_option (fd, OPT_ABORT, NULL, 0, deadline);
      return s->size > 0 ? 0 : -1;
    }
    else
      goto bad;
  }

bad:
  errno = EPROTO;
  return -1;
}

/* As server_probe; the connection is left in *FD when that is PROBE_OK. */
static enum probe
shake_hands (const char *socket_path, uint32_t option, unsigned ms,
             struct server *s, int *connection)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  long long deadline = now_ms () + ms;
  enum probe result;
  struct ucred peer;
  socklen_t n = sizeof peer;
  int fd;

  memset (s, 0, sizeof *s);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1)
    return PROBE_ABSENT;
  snprintf (address.sun_path, sizeof address.sun_path, "%s", socket_path);
  if (connect (fd, (struct sockaddr *) &address, sizeof address) == -1) {
    /* EAGAIN: its queue of connections is full. */
    result = errno == EAGAIN   ? PROBE_SILENT
             : errno == EACCES ? PROBE_FORBIDDEN
                               : PROBE_ABSENT;
    goto out;
  }
  if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0)
    s->pid = peer.pid;
  if (handshake (fd, option, s, deadline) == 0) {
    *connection = fd;
    return PROBE_OK;
  }
  result = errno == ETIMEDOUT ? PROBE_SILENT : PROBE_BAD;
out:
  close (fd);
  return result;
}

enum probe
server_probe (const char *socket_path, unsigned ms, struct server *s)
{
  int fd = -1;
  enum probe result = shake_hands (socket_path, OPT_INFO, ms, s, &fd);

  if (result == PROBE_OK)
    close (fd);
  return result;
}

int
server_connect (const char *socket_path, unsigned ms, struct server *s)
{
  int fd = -1;

  if (shake_hands (socket_path, OPT_GO, ms, s, &fd) != PROBE_OK)
    return -1;
  fcntl (fd, F_SETFL, fcntl (fd, F_GETFL) & ~O_NONBLOCK);
  return fd;
}

int
server_read (int fd, void *buf, uint32_t size, unsigned ms)
{
  const long long deadline = now_ms () + ms;
  struct __attribute__ ((packed)) {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
  } request = { htobe32 (REQUEST_MAGIC), 0, htobe16 (CMD_READ), 0, 0,
                htobe32 (size) };
  struct __attribute__ ((packed)) {
    uint32_t magic, error;
    uint64_t cookie;
  } reply;

  if (transfer (fd, &request, sizeof request, true, deadline) == -1 ||
      transfer (fd, &reply, sizeof reply, false, deadline) == -1)
    return -1;
  if (be32toh (reply.magic) != SIMPLE_REPLY_MAGIC || reply.error != 0) {
    errno = EIO;
    return -1;
  }
  return transfer (fd, buf, size, false, deadline);
}
