/* nbdkit-vram: the daemon, as its own files see it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_DAEMON_H
#define VRAM_SWAP_DAEMON_H

#include <stdbool.h>

#include "control-socket.h"
#include "jobs.h"
#include "link.h"
#include "msg.h"
#include "options.h"
#include "runstate.h"
#include "supervisor.h"

/* Moments of now_ms (), 0 for never; each is over when it has come. */
enum timer {
  TIMER_SERVER,   /* the next server */
  TIMER_REPLACE,  /* the server is killed, for a reload */
  TIMER_CONNECT,  /* the next try to hand it to the kernel */
  TIMER_COMPLAIN, /* the next message that there is no server */
  TIMER_PATIENCE, /* outage-timeout is over */
  TIMER_FAIL,     /* what waited for a server is failing */
  TIMER_JOB,      /* a cancelled job should have ended */
  TIMER_END,      /* the server should have ended */
  TIMER_DRAIN,    /* the next try to switch off */
  TIMER_POLICY,   /* the next look at power and idleness */
  TIMERS
};

struct daemon {
  struct conf *conf;
  const char *conf_file; /* NULL: the usual one */
  bool server_only;      /* no device, no swap */
  bool test, fill;       /* test the device, and exit */

  struct runstate st;
  struct supervisor server;
  struct control control;
  struct client *asked; /* the one whose request is being carried out */

  struct job job;
  int (*work) (const void *order); /* what the job does */
  struct job_order order;
  int job_status;

  struct nbd_netlink nl;
  struct link link;
  bool outage; /* the kernel has lost the server */
  bool over;   /* for longer than outage-timeout */
  bool wrong;  /* the wrong disk was reported */
  long long outage_began;
  enum link_result outage_why;
  int outage_errno;

  struct conf former;   /* what a reload that fails goes back to */
  bool initial;         /* no start has succeeded yet: a failure is fatal */
  bool start_again;     /* once what was found has been cleared away */
  bool replacing;       /* the server, for a reload */
  bool short_limit;     /* requests have REPLACE_S, not st.timeout */
  bool renews;          /* becomes what is installed, when it is at rest */
  enum cause resumes;   /* why it was off before this start */
  long long not_before; /* no policy switches off earlier */
  unsigned refusals;    /* of the policies' in a row */
  long long empty_since;

  int epoll, signals, swaps, uevents, pressure; /* descriptors */
  long long timer[TIMERS];
  bool exits;
  int exit_status;
};

/* waits.c */
void daemon_set_timer (struct daemon *d, enum timer timer, long long in_ms);
int daemon_next_timer (const struct daemon *d); /* ms from now, -1: none */
void daemon_watch (struct daemon *d, int fd, unsigned events);
void daemon_unwatch (struct daemon *d, int fd);

/* folders.c */
/* The socket's folder, which only the server's user and root may enter.
 * Returns 0, or -1 with a message.
 */
int folders_make_socket (const struct daemon *d);
/* The default folder of the spill file.  The server makes the file, and goes
 * on without one if it cannot.
 */
void folders_make_spill (const struct daemon *d);

/* tell.c: what clients and systemd are told. */
void tell_state (struct daemon *d);
void tell_message (struct daemon *d, enum log_level level, const char *line);
void tell_progress (struct daemon *d, const struct job_packet *p);
/* The end of what clients wait for, with an exit status. */
void tell_end (struct daemon *d, int status);
void tell_add_state (struct json *j, const struct daemon *d);

/* watch.c: what others do to swap, device, power and memory.  Each returns
 * what has happened, for daemon_handle.
 */
void watch_open (struct daemon *d);
enum event watch_swaps (struct daemon *d);
enum event watch_device (struct daemon *d);
enum event watch_policies (struct daemon *d);
/* Reads all uevents: whether POWER or our DEVICE has changed. */
void watch_uevents (const struct daemon *d, bool *power, bool *device);
void watch_pressure (struct daemon *d, bool on);

/* reload.c: new settings.  All return or take an exit status; they stay if it
 * is EXIT_OK.
 */
int reload_begin (struct daemon *d);
void reload_end (struct daemon *d, int status);

/* outage.c */
void outage_begin (struct daemon *d);
void outage_start_server (struct daemon *d);
/* Kills a server that works, so that the next one takes over, once requests
 * that are under way then are sent again soon.
 */
void outage_replace (struct daemon *d);
void outage_replace_now (struct daemon *d); /* TIMER_REPLACE has passed */
/* Gives requests the time limits that are configured. */
void outage_limits (const struct daemon *d);
/* Hands the server to the kernel.  Returns what has happened. */
enum event outage_connect (struct daemon *d);
void outage_complain (struct daemon *d);
void outage_is_over (struct daemon *d); /* outage-timeout has passed */
void outage_fail (struct daemon *d);    /* what waits for a server */
void outage_end (struct daemon *d);
void outage_spare (const struct daemon *d); /* memory for the next server */
void outage_link (struct daemon *d); /* d->link after what is remembered */

/* transitions.c: what an event does.  Returns the action that it led to. */
enum action daemon_handle (struct daemon *d, enum event event);
void daemon_run_job (struct daemon *d, int (*work) (const void *order));

/* takeover.c: what an earlier daemon has left.  Returns an exit status. */
int daemon_take_over (struct daemon *d);

/* requests.c */
void requests_serve (struct daemon *d, struct client *client);
void requests_reload (struct daemon *d, struct client *client);

/* renew.c: executes the program that is installed now, if it is a different
 * one.  It stays the same process, and the server its child.  Only at rest.
 */
void daemon_renew (struct daemon *d, char **argv);

#endif
