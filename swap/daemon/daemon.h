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

  bool initial;         /* no start has succeeded yet: a failure is fatal */
  bool start_again;     /* once what was found has been cleared away */
  bool replacing;       /* the server, for a reload */
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

/* daemon.c */
void daemon_set_timer (struct daemon *d, enum timer timer, long long in_ms);
void daemon_watch (struct daemon *d, int fd, unsigned events);
int daemon_remember (const struct daemon *d);
void daemon_make_spill_folder (const struct daemon *d);

/* transitions.c: what an event does.  Returns the action that it led to. */
enum action daemon_handle (struct daemon *d, enum event event);
void daemon_run_job (struct daemon *d, int (*work) (const void *order));
void daemon_finish (struct daemon *d,
                    int status); /* answer the clients that wait */

/* takeover.c: what an earlier daemon has left.  Returns an exit status. */
int daemon_take_over (struct daemon *d);

/* outage.c */
void outage_begin (struct daemon *d);
void outage_start_server (struct daemon *d);
void outage_connect (struct daemon *d);
void outage_complain (struct daemon *d);
void outage_is_over (struct daemon *d); /* outage-timeout has passed */
void outage_fail (struct daemon *d);    /* what waits for a server */
void outage_end (struct daemon *d);
void outage_spare (const struct daemon *d); /* memory for the next server */
void outage_link (struct daemon *d); /* d->link after what is remembered */

/* watch.c: what others do to swap, device, power and memory. */
void watch_open (struct daemon *d);
void watch_swaps (struct daemon *d);
void watch_device (struct daemon *d);
void watch_uevents (struct daemon *d);
void watch_policies (struct daemon *d);
void watch_pressure (struct daemon *d, bool on);

/* requests.c */
/* The end of CLIENT's request: an exit status, and WHY, unless NULL. */
void requests_answer (struct client *client, int status, const char *why);
void requests_serve (struct daemon *d, struct client *client);
void requests_tell_state (struct daemon *d);
void requests_tell_message (struct daemon *d, enum log_level level,
                            const char *line);
void requests_tell_progress (struct daemon *d, const struct job_packet *p);
void requests_reload (struct daemon *d, struct client *client);

#endif
