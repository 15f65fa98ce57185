/* nbdkit-vram: the connections between the kernel's device and the server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_LINK_H
#define VRAM_SWAP_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd-netlink.h"
#include "swaps.h"

struct link {
  const char *socket; /* the server's */
  unsigned device;    /* N of /dev/nbdN */
  unsigned connections;
  int64_t size;           /* bytes */
  char disk[SWAP_ID + 1]; /* the UUID of the swap that is on, "": not known */
  bool swap_on;

  int mute[NBD_SOCKETS_MAX]; /* the other ends of link_fail ()'s connections */
  unsigned mutes;
};

enum link_result {
  LINK_DONE,
  LINK_NO_SERVER,
  LINK_WRONG_SERVER, /* it has another disk */
  LINK_REFUSED,      /* by the kernel: errno */
};

/* Hands the device as many new connections to the server as it has; it takes
 * those that it has lost.  While swap is on only a server with the swap's own
 * disk is taken.  Allocates nothing.
 */
enum link_result link_connect (struct link *l, struct nbd_netlink *nl);

/* Learns which swap is on the server's disk, for LINK_WRONG_SERVER.  Returns
 * false when it has no swap of ours, or the server does not answer.
 */
bool link_identify (struct link *l);

/* Has all requests that wait for a server fail, and those that come, until
 * link_connect () and nbd_hold ().  link_fail_end () belongs to it, a second
 * later.  Returns 0, or -1 with errno set.
 */
int link_fail (struct link *l, struct nbd_netlink *nl);
void link_fail_end (struct link *l);

/* Has requests fail soon after this server dies, although no other process
 * will be there to have them fail.  Returns 0, or -1 with errno set.
 */
int link_expect_end (const struct link *l, struct nbd_netlink *nl);

#endif
