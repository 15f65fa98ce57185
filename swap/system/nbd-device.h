/* nbdkit-vram: the kernel's end, /dev/nbdN
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_NBD_DEVICE_H
#define VRAM_SWAP_NBD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "swaps.h"

/* A device is named by its number N; messages say /dev/nbdN. */

/* Makes sure that the kernel's nbd driver is there, loading it if need be.
 * Returns 0, or -1 with a message.
 */
int nbd_load (void);

/* Whether the driver is there. */
bool nbd_loaded (void);

/* Whether a client has the device, and which process attached it (the kernel
 * keeps the number after that process has gone).
 */
bool nbd_attached (unsigned n);
bool nbd_attached_by (unsigned n, pid_t *pid);

/* Whether the driver has that device. */
bool nbd_exists (unsigned n);

/* The lowest device from FIRST on that is not attached, or -1. */
int nbd_find_free (unsigned first);

/* Its size in bytes, 0 when nothing is attached. */
int64_t nbd_size (unsigned n);

/* How many connections it has, as far as CPUs use them; at least 1. */
unsigned nbd_connections (unsigned n);

struct nbd_attach {
  const char *socket;
  unsigned connections;
  unsigned timeout; /* seconds; 0 sets none */

  /* Called with the attaching process before it starts, so that a device that
   * was attached can be told from others' even when we are killed.
   */
  int (*started) (pid_t pid, void *opaque);
  void *opaque;
};

/* Returns 0, or -1 with a message in WHY. */
int
nbd_attach (unsigned n, const struct nbd_attach *a, char *why, size_t size);

/* Reads a block from every CPU, so over every connection, since each serves
 * some of the CPUs.  The kernel may have left a connection without a receiver
 * (HACKING.md tells how); what is sent there is never answered.  Returns 0,
 * or -1 when a read did not come back within MS milliseconds, or failed.
 * Prints nothing; detaching ends reads that hang.
 */
int nbd_verify (unsigned n, unsigned ms);

/* Opens the device for this process alone, by its number: by /dev/nbdN, or,
 * when that is missing or another device, by a node that is made.  PATH
 * becomes the node, *FD the descriptor or -1 with errno set, EBUSY when swap
 * is on or it is used otherwise.  Returns whether the node was made, and is
 * the caller's to remove.
 */
bool nbd_open_node (unsigned n, char *path, size_t size, int *fd);

/* The swap on the device, also after its node was renamed, or NULL. */
const struct swap *nbd_find_swap (const struct swaps *s, unsigned n);

/* Whether the device is in use, as by swap: 1 or 0, or -1 with errno set. */
int nbd_in_use (unsigned n);

/* Detaches, and waits until the kernel has released the device.  Returns 0, or
 * -1 with a message, also when the device is in use.
 */
int nbd_detach (unsigned n);

/* As nbd_detach (), for a device that this process has attached and nothing
 * uses yet: does not open it, which could hang, and waits for at most MS
 * milliseconds.
 */
int nbd_disconnect (unsigned n, unsigned ms);

/* Have requests wait for a new server when this one dies, up to SECONDS, and
 * be sent again soon after there is one: that takes a single connection, see
 * nbd-device.c.  Returns 0, or -1 with a message.
 */
int
nbd_hold (unsigned n, unsigned connections, unsigned timeout, int64_t seconds);

#endif
