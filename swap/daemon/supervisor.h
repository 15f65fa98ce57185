/* nbdkit-vram: runs the server, and keeps its disk between two servers
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_SUPERVISOR_H
#define VRAM_SWAP_SUPERVISOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "descriptors.h"
#include "server-command.h"
#include "unprivileged.h"

struct supervisor {
  const char *program; /* nbdkit's path */
  const char *socket;  /* the server's */
  const char *const *command;
  struct unprivileged user;
  sigset_t mask; /* of this process at its start */

  char address[128];  /* what the server has as NOTIFY_SOCKET */
  char upstream[128]; /* systemd's NOTIFY_SOCKET, or "" */
  int listening;      /* to the server */
  int lock;           /* the server's, see supervisor.c */
  struct descriptors kept;
  bool unknown;   /* systemd does not know all that we were told */
  int unanswered; /* a barrier that must not fall, or -1 */

  pid_t pid;  /* 0: no server */
  int pidfd;  /* readable when it has ended, or -1 */
  bool child; /* ours; otherwise an earlier daemon's */
  bool ready;
  bool ending;      /* it was told to */
  bool replaced;    /* supervisor_replace has killed it */
  bool lost_client; /* a client has gone, since this was last cleared */
  unsigned pause;   /* before the next one, ms */
  char status[256]; /* its own words about the disk */
};

/* Takes over what systemd passes (LISTEN_FDS), and listens.  Returns 0, or -1
 * with a message.
 */
int supervisor_open (struct supervisor *s);

/* Starts a server, which takes the disk over that is kept, if one is.  Returns
 * 0, or -1 with a message.
 */
int supervisor_start (struct supervisor *s);

/* The process of a server that an earlier daemon has started, or 0. */
pid_t supervisor_find (const struct supervisor *s);

/* Supervises that server.  Returns 0, or -1 with a message. */
int supervisor_take (struct supervisor *s, pid_t pid);

/* Handles the server's messages.  Returns whether it has become ready.
 */
bool supervisor_listen (struct supervisor *s);

/* Tells the server to overwrite its VRAM and to end.  The device is detached.
 */
void supervisor_end (struct supervisor *s);

/* Ends the server in the way that leaves its disk. */
void supervisor_replace (struct supervisor *s);

/* Its pidfd is readable.  Returns whether its disk is kept for the next one.
 */
bool supervisor_ended (struct supervisor *s);

/* Closes all descriptors that are kept, here and in systemd. */
void supervisor_discard (struct supervisor *s);

/* Sends systemd a line such as READY=1; does not wait. */
void supervisor_notify (const struct supervisor *s, const char *line);

#endif
