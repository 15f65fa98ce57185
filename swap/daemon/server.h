/* nbdkit-vram: the NBD server as its clients see it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_SERVER_H
#define VRAM_SWAP_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a handshake tells. */
struct server {
  int64_t size; /* bytes */
  bool multi_conn;
  char description[1024]; /* the export's own words, or "" */
  pid_t pid;              /* the peer of the socket, 0 when unknown */
};

enum probe {
  PROBE_OK,
  PROBE_ABSENT,
  PROBE_SILENT,
  PROBE_BAD,
  PROBE_FORBIDDEN
};

/* Connects to SOCKET and shakes hands.  A server that has not finished its
 * start-up accepts no client yet, so an answer means that VRAM is allocated.
 * ABSENT: no server listens; SILENT: no answer within MS milliseconds;
 * BAD: hung up, or answered something that is not NBD; FORBIDDEN: it is not
 * for this user to ask.  Prints nothing.
 */
enum probe server_probe (const char *socket, unsigned ms, struct server *s);

/* Connects to SOCKET and shakes hands, up to where requests follow.  Returns
 * the connection, close-on-exec, or -1.  Prints nothing and allocates nothing.
 */
int server_connect (const char *socket, unsigned ms, struct server *s);

/* Reads the disk's first SIZE bytes over such a connection, on which nothing
 * is under way.  Returns 0, or -1 with errno set.  Allocates nothing.
 */
int server_read (int fd, void *buf, uint32_t size, unsigned ms);

#endif
