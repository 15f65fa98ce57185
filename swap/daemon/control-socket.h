/* nbdkit-vram: /run/vram-swap/control, where commands talk to the daemon
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A stream of lines, each a JSON object; vram-swap(8), CONTROL SOCKET, has
 * them.
 */

#ifndef VRAM_SWAP_CONTROL_SOCKET_H
#define VRAM_SWAP_CONTROL_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "json.h"
#include "runstate.h"

#define CONTROL_SOCKET  RUN_FOLDER "/control"
#define CONTROL_CLIENTS 16
/* How many of them are root's alone: others may stay connected for hours. */
#define CONTROL_ROOT     4
#define CONTROL_LINE_MAX 4096

struct client {
  int fd; /* -1: free */
  bool root;
  bool listens;  /* to all events */
  bool waits;    /* for the end of its request */
  bool leaves;   /* it has hung up: dropped at the end of its request */
  bool holds;    /* VRAM down to LIMIT, for as long as it is connected */
  int64_t limit; /* bytes */
  size_t used;
  char line[CONTROL_LINE_MAX]; /* what has come of the next one */
};

struct control {
  int fd;
  struct client client[CONTROL_CLIENTS];
};

/* Listens, for root and for those in GROUP.  Returns 0, or -1 with a message.
 */
int control_open (struct control *c, gid_t group);

/* Takes a new client.  Returns it, or NULL. */
struct client *control_accept (struct control *c);

/* Reads what has come.  Returns false when the client has hung up. */
bool control_receive (struct client *client);

/* The next whole line, without its newline, or NULL. */
char *control_next_line (struct client *client, size_t *n);

/* Sends what J holds and frees it.  A client that does not read is dropped. */
void control_send (struct client *client, struct json *j);

/* The end of CLIENT's request: an exit status, and WHY, unless NULL. */
void control_answer (struct client *client, int status, const char *why);

/* Sends J, as control_send, to all that listen or wait. */
void control_tell_all (struct control *c, struct json *j);

void control_drop (struct client *client);

/* For the commands: connects to the daemon.  Returns a descriptor, or -1. */
int control_connect (void);

#endif
