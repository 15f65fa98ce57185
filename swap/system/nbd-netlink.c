/* nbdkit-vram: what only the nbd driver's netlink interface can do to a device
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "msg.h"
#include "nbd-netlink.h"

#define ANSWER_S 10 /* how long the kernel may take to answer */

/* A request or an answer. */
struct message {
  struct nlmsghdr header;
  struct genlmsghdr generic;
  char data[4096];
};

static void
begin (struct message *m, uint16_t type, uint8_t command)
{
  memset (m, 0, sizeof m->header + sizeof m->generic);
  m->header.nlmsg_len = NLMSG_LENGTH (GENL_HDRLEN);
  m->header.nlmsg_type = type;
  m->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  m->generic.cmd = command;
  m->generic.version = 1;
}

/* Appends an attribute; with no DATA it is the head of a nest, whose length
 * end_nest () sets.
 */
static struct nlattr *
put (struct message *m, uint16_t type, const void *data, uint16_t size)
{
  struct nlattr *a = (void *) ((char *) m + NLMSG_ALIGN (m->header.nlmsg_len));

  a->nla_type = data ? type : type | NLA_F_NESTED;
  a->nla_len = NLA_HDRLEN + size;
  if (data) {
    memset ((char *) a + NLA_HDRLEN, 0, NLA_ALIGN (size));
    memcpy ((char *) a + NLA_HDRLEN, data, size);
  }
  m->header.nlmsg_len =
      NLMSG_ALIGN (m->header.nlmsg_len) + NLA_ALIGN (a->nla_len);
  return a;
}

static void
end_nest (const struct message *m, struct nlattr *nest)
{
  nest->nla_len = (const char *) m + m->header.nlmsg_len - (const char *) nest;
}

/* Sends M and waits until it is answered; what comes before the
 * acknowledgement is left in *ANSWER when that is given.
 */
static int
ask (struct nbd_netlink *nl, struct message *m, struct message *answer)
{
  struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
  struct message r;
  ssize_t n;

  m->header.nlmsg_seq = ++nl->sequence;
  do
    n = sendto (nl->fd, m, m->header.nlmsg_len, 0, (struct sockaddr *) &kernel,
                sizeof kernel);
  while (n == -1 && errno == EINTR);
  if (n == -1)
    return -1;

  for (;;) {
    n = recv (nl->fd, &r, sizeof r, 0);
    if (n == -1 && errno == EINTR)
      continue;
    /* What the kernel tells to all may overflow; that is no answer. */
    if (n == -1 && errno == ENOBUFS)
      continue;
    if (n == -1)
      return -1;
    if (n < NLMSG_HDRLEN || r.header.nlmsg_seq != nl->sequence)
      continue;
    if (r.header.nlmsg_type == NLMSG_ERROR) {
      const struct nlmsgerr *e = NLMSG_DATA (&r.header);

      errno = -e->error;
      return e->error == 0 ? 0 : -1;
    }
    if (answer)
      memcpy (answer, &r, n);
  }
}

/* The attribute of TYPE in [AT, END), or NULL. */
static const struct nlattr *
find (const char *at, const char *end, uint16_t type)
{
  while (end - at >= NLA_HDRLEN) {
    const struct nlattr *a = (const void *) at;

    if (a->nla_len < NLA_HDRLEN || a->nla_len > end - at)
      return NULL;
    if ((a->nla_type & NLA_TYPE_MASK) == type)
      return a;
    at += NLA_ALIGN (a->nla_len);
  }
  return NULL;
}

static const struct nlattr *
find_in (const struct nlattr *nest, uint16_t type)
{
  return nest ? find ((const char *) nest + NLA_HDRLEN,
                      (const char *) nest + nest->nla_len, type)
              : NULL;
}

/* The number of the driver's multicast group, or 0. */
static uint32_t
find_group (const char *at, const char *end)
{
  const struct nlattr *a = find (at, end, CTRL_ATTR_MCAST_GROUPS);
  uint32_t group = 0;

  /* Groups are a list whose items' types count from 1. */
  a = find_in (find_in (a, 1), CTRL_ATTR_MCAST_GRP_ID);
  if (a)
    memcpy (&group, (const char *) a + NLA_HDRLEN, sizeof group);
  return group;
}

static int
find_driver (struct nbd_netlink *nl, uint32_t *group)
{
  struct message m, r = { .header = { .nlmsg_len = 0 } };
  const struct nlattr *a;
  const char *at = (const char *) &r + NLMSG_HDRLEN + GENL_HDRLEN, *end;

  begin (&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
  put (&m, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME,
       sizeof NBD_GENL_FAMILY_NAME);
  if (ask (nl, &m, &r) == -1)
    return -1;
  end = (const char *) &r + r.header.nlmsg_len;
  a = find (at, end, CTRL_ATTR_FAMILY_ID);
  if (!a) {
    errno = EPROTO;
    return -1;
  }
  memcpy (&nl->family, (const char *) a + NLA_HDRLEN, sizeof nl->family);
  *group = find_group (at, end);
  return 0;
}

int
nbd_netlink_open (struct nbd_netlink *nl, bool listen)
{
  const struct timeval patience = { .tv_sec = ANSWER_S };
  struct sockaddr_nl self = { .nl_family = AF_NETLINK };
  uint32_t group;

  nl->sequence = 0;
  nl->fd = socket (AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
  if (nl->fd == -1 ||
      bind (nl->fd, (struct sockaddr *) &self, sizeof self) == -1 ||
      setsockopt (nl->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
                  sizeof patience) == -1 ||
      find_driver (nl, &group) == -1)
    goto err;
  if (listen && group > 0 &&
      setsockopt (nl->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
                  sizeof group) == -1)
    goto err;
  return 0;

err:
  log_error ("cannot talk to the kernel's nbd driver by netlink: %m");
  nbd_netlink_close (nl);
  return -1;
}

void
nbd_netlink_close (struct nbd_netlink *nl)
{
  if (nl->fd != -1)
    close (nl->fd);
  nl->fd = -1;
}

/* A request about /dev/nbdINDEX. */
static void
begin_device (const struct nbd_netlink *nl, struct message *m, uint8_t command,
              uint32_t index)
{
  begin (m, nl->family, command);
  put (m, NBD_ATTR_INDEX, &index, sizeof index);
}

bool
nbd_netlink_attached (struct nbd_netlink *nl, unsigned index)
{
  struct message m;

  begin_device (nl, &m, NBD_CMD_RECONFIGURE, index);
  return ask (nl, &m, NULL) == 0 || errno != EINVAL;
}

int
nbd_netlink_set_limits (struct nbd_netlink *nl, unsigned index,
                        uint64_t patience, uint64_t timeout)
{
  struct message m;

  begin_device (nl, &m, NBD_CMD_RECONFIGURE, index);
  put (&m, NBD_ATTR_DEAD_CONN_TIMEOUT, &patience, sizeof patience);
  put (&m, NBD_ATTR_TIMEOUT, &timeout, sizeof timeout);
  return ask (nl, &m, NULL);
}

int
nbd_netlink_reconnect (struct nbd_netlink *nl, unsigned index,
                       const int *sockets, unsigned count)
{
  struct nlattr *list, *item;
  struct message m;

  begin_device (nl, &m, NBD_CMD_RECONFIGURE, index);
  list = put (&m, NBD_ATTR_SOCKETS, NULL, 0);
  for (unsigned i = 0; i < count && i < NBD_SOCKETS_MAX; i++) {
    const uint32_t fd = sockets[i];

    item = put (&m, NBD_SOCK_ITEM, NULL, 0);
    put (&m, NBD_SOCK_FD, &fd, sizeof fd);
    end_nest (&m, item);
  }
  end_nest (&m, list);
  return ask (nl, &m, NULL);
}

int
nbd_netlink_disconnect (struct nbd_netlink *nl, unsigned index)
{
  struct message m;

  begin_device (nl, &m, NBD_CMD_DISCONNECT, index);
  return ask (nl, &m, NULL);
}

/* Whether what was told, N bytes, is that device INDEX has lost a connection.
 */
static bool
tells_of (const struct nbd_netlink *nl, const struct message *m, size_t n,
          uint32_t index)
{
  const struct nlattr *a;
  uint32_t told;

  if (n < NLMSG_LENGTH (GENL_HDRLEN) || m->header.nlmsg_len > n ||
      m->header.nlmsg_type != nl->family ||
      m->generic.cmd != NBD_CMD_LINK_DEAD)
    return false;
  a = find ((const char *) m + NLMSG_LENGTH (GENL_HDRLEN),
            (const char *) m + m->header.nlmsg_len, NBD_ATTR_INDEX);
  if (!a || a->nla_len < NLA_HDRLEN + sizeof told)
    return true;
  memcpy (&told, (const char *) a + NLA_HDRLEN, sizeof told);
  return told == index;
}

bool
nbd_netlink_lost (struct nbd_netlink *nl, unsigned index)
{
  struct message r;
  bool lost = false;
  ssize_t n;

  for (;;) {
    n = recv (nl->fd, &r, sizeof r, MSG_DONTWAIT);
    if (n > 0)
      lost |= tells_of (nl, &r, n, index);
    else if (n == -1 && errno == ENOBUFS)
      lost = true; /* there was no room for all of it */
    else if (n == 0 || errno != EINTR)
      return lost;
  }
}
