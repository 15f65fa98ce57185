/* nbdkit-vram: the states of the swap, and what moves it from one to another
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_STATES_H
#define VRAM_SWAP_STATES_H

#include <stdbool.h>

enum state {
  STATE_OFF,
  STATE_STARTING, /* server, device, mkswap, swapon; or a test of the device */
  STATE_ON,
  STATE_OUTAGE,   /* on, and the server is being replaced */
  STATE_DRAINING, /* swapoff, detach, end of the server */
  STATE_PAUSED,   /* off by a policy, and it comes on again by itself */
  STATE_FAILED,   /* on, and what is swapped out is lost */
  STATE_ENDED,    /* the daemon exits */
  STATES
};

/* Why swap is off.  A later cause takes an earlier one's place, never
 * the other way round: what was switched off by hand stays off after a sleep.
 */
enum cause {
  CAUSE_NONE, /* it should be on */
  CAUSE_IDLE,
  CAUSE_POWER,
  CAUSE_SLEEP,
  CAUSE_REQUEST, /* vram-swap down */
  CAUSE_OTHERS,  /* another program: swapoff, nbd-client -d */
  CAUSE_END,     /* SIGTERM */
  CAUSES,
  CAUSE_ANY = CAUSES
};

enum event {
  EVENT_NONE,
  /* Requests and signals */
  EVENT_UP,
  EVENT_TEST,
  EVENT_DOWN,
  EVENT_CANCEL, /* the program that had asked has gone */
  EVENT_SLEEP,
  EVENT_WAKE,
  EVENT_END,
  /* Policies */
  EVENT_POWER_LOW,
  EVENT_POWER_OK,
  EVENT_IDLE,
  EVENT_MEMORY_SHORT,
  EVENT_RETRY, /* a start that had failed is tried again */
  /* Our processes */
  EVENT_JOB_DONE,
  EVENT_JOB_REFUSED, /* what is swapped out does not fit elsewhere */
  EVENT_JOB_FAILED,
  EVENT_SERVER_DIED,  /* and its disk is kept */
  EVENT_DISK_LOST,    /* it died, and its disk with it */
  EVENT_SERVER_ENDED, /* as it was told to */
  EVENT_CONNECTED,    /* the kernel has the next server */
  /* Other programs */
  EVENT_SWAP_GONE,
  EVENT_DEVICE_GONE,
  EVENTS
};

enum action {
  ACTION_NONE,
  ACTION_REFUSE,   /* the request, in this state */
  ACTION_GRANT,    /* the request: there is nothing to do */
  ACTION_START,    /* the server, and the job that switches swap on */
  ACTION_TEST,     /* the server, and the job that tests the device */
  ACTION_CANCEL,   /* the job that runs */
  ACTION_ENTER_ON, /* swap is on */
  ACTION_DRAIN,    /* the job that switches swap off and detaches */
  ACTION_STAY_ON,  /* it could not be switched off */
  ACTION_DRAIN_LATER,
  ACTION_HURRY, /* what is left does not outlive the server */
  ACTION_END_SERVER,
  ACTION_SETTLE,  /* server and device are gone: off, paused or ended */
  ACTION_RECOVER, /* start the next server, which takes the disk over */
  ACTION_RECOVERED,
  ACTION_GIVE_UP, /* say that what is swapped out is lost */
  ACTION_WAKE,    /* on again, or paused on battery */
  ACTION_EXIT,
};

struct transition {
  enum state from;
  enum cause when; /* the cause in force, or CAUSE_ANY */
  enum event event;
  enum state to;
  enum action action;
};

/* What EVENT does in STATE while CAUSE is in force; NULL when it does nothing.
 */
const struct transition *
states_find (enum state state, enum cause cause, enum event event);

/* The cause that an event brings, CAUSE_NONE for most. */
enum cause states_cause (enum event event);

const char *state_name (enum state state);
const char *cause_name (enum cause cause);
bool state_find (const char *name, enum state *state);
bool cause_find (const char *name, enum cause *cause);

/* Whether the kernel may have something on our device. */
bool state_has_swap (enum state state);

#endif
