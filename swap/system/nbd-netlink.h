/* nbdkit-vram: what only the nbd driver's netlink interface can do to a device
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_NBD_NETLINK_H
#define VRAM_SWAP_NBD_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_SOCKETS_MAX 64

/* A way to talk to the driver (of linux/nbd-netlink.h), and to be told by it.
 * Nothing below allocates memory in this process.
 */
struct nbd_netlink {
  int fd;
  uint16_t family;
  uint32_t sequence;
};

/* Returns 0, or -1 with a message.  With LISTEN, the descriptor is readable
 * when the driver has lost a connection.
 */
int nbd_netlink_open (struct nbd_netlink *nl, bool listen);
void nbd_netlink_close (struct nbd_netlink *nl);

/* Whether the driver still has a client for /dev/nbdINDEX, which /sys shows
 * for as long as swap is on there.
 */
bool nbd_netlink_attached (struct nbd_netlink *nl, unsigned index);

/* How long, in seconds, requests to /dev/nbdINDEX wait for a connection when
 * all are lost, instead of failing, and how long for an answer, before their
 * connection is taken for lost (0: forever, with a single one).  Returns 0,
 * or -1 with errno set.
 */
int nbd_netlink_set_limits (struct nbd_netlink *nl, unsigned index,
                            uint64_t patience, uint64_t timeout);

/* Hand the device COUNT sockets, at most NBD_SOCKETS_MAX, which are through
 * with the handshake: each takes the place of a connection that is lost, and
 * those that are too many are dropped.  The caller's descriptors stay open.
 * Returns 0, or -1 with errno set.
 */
int nbd_netlink_reconnect (struct nbd_netlink *nl, unsigned index,
                           const int *sockets, unsigned count);

/* Detach the device, whatever is on it.  Returns 0, or -1 with errno set. */
int nbd_netlink_disconnect (struct nbd_netlink *nl, unsigned index);

/* Takes what the driver has told, which is of all devices.  Returns whether
 * /dev/nbdINDEX has lost a connection, or may have.
 */
bool nbd_netlink_lost (struct nbd_netlink *nl, unsigned index);

#endif
