/* nbdkit-vram: the states of the swap, and what moves it from one to another
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "states.h"

static const char *const state_names[STATES] = {
  [STATE_OFF] = "off",
  [STATE_STARTING] = "starting",
  [STATE_ON] = "on",
  [STATE_OUTAGE] = "outage",
  [STATE_DRAINING] = "draining",
  [STATE_PAUSED] = "paused",
  [STATE_FAILED] = "failed",
  [STATE_ENDED] = "ended",
};

static const char *const cause_names[CAUSES] = {
  [CAUSE_NONE] = "none",       [CAUSE_IDLE] = "idle",
  [CAUSE_POWER] = "power",     [CAUSE_SLEEP] = "sleep",
  [CAUSE_REQUEST] = "request", [CAUSE_OTHERS] = "others",
  [CAUSE_END] = "end",
};

#define OFF      STATE_OFF
#define STARTING STATE_STARTING
#define ON       STATE_ON
#define OUTAGE   STATE_OUTAGE
#define DRAINING STATE_DRAINING
#define PAUSED   STATE_PAUSED
#define FAILED   STATE_FAILED
#define ENDED    STATE_ENDED
#define ANY      CAUSE_ANY

/* The first line that fits counts. */
static const struct transition table[] = {
  /* Off, and nothing switches it on but a request. */
  { OFF, ANY, EVENT_UP, STARTING, ACTION_START },
  { OFF, ANY, EVENT_TEST, STARTING, ACTION_TEST },
  { OFF, ANY, EVENT_DOWN, OFF, ACTION_GRANT },
  { OFF, ANY, EVENT_SLEEP, OFF, ACTION_GRANT },
  { OFF, ANY, EVENT_WAKE, OFF, ACTION_GRANT },
  { OFF, ANY, EVENT_END, ENDED, ACTION_EXIT },

  /* Starting: the job undoes what it has done when it fails. */
  { STARTING, ANY, EVENT_UP, STARTING, ACTION_REFUSE },
  { STARTING, ANY, EVENT_TEST, STARTING, ACTION_REFUSE },
  { STARTING, ANY, EVENT_WAKE, STARTING, ACTION_GRANT },
  { STARTING, ANY, EVENT_DOWN, STARTING, ACTION_CANCEL },
  { STARTING, ANY, EVENT_CANCEL, STARTING, ACTION_CANCEL },
  { STARTING, ANY, EVENT_SLEEP, STARTING, ACTION_CANCEL },
  { STARTING, ANY, EVENT_END, STARTING, ACTION_CANCEL },
  { STARTING, ANY, EVENT_SERVER_DIED, STARTING, ACTION_CANCEL },
  { STARTING, ANY, EVENT_DISK_LOST, STARTING, ACTION_CANCEL },
  { STARTING, CAUSE_NONE, EVENT_JOB_DONE, ON, ACTION_ENTER_ON },
  { STARTING, ANY, EVENT_JOB_DONE, DRAINING, ACTION_DRAIN },
  { STARTING, ANY, EVENT_JOB_REFUSED, STARTING, ACTION_END_SERVER },
  { STARTING, ANY, EVENT_JOB_FAILED, STARTING, ACTION_END_SERVER },
  { STARTING, ANY, EVENT_SERVER_ENDED, OFF, ACTION_SETTLE },

  { ON, ANY, EVENT_UP, ON, ACTION_GRANT },
  { ON, ANY, EVENT_TEST, ON, ACTION_REFUSE },
  { ON, ANY, EVENT_WAKE, ON, ACTION_GRANT },
  { ON, ANY, EVENT_DOWN, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_SLEEP, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_END, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_POWER_LOW, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_IDLE, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_SWAP_GONE, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_DEVICE_GONE, DRAINING, ACTION_DRAIN },
  { ON, ANY, EVENT_SERVER_DIED, OUTAGE, ACTION_RECOVER },
  { ON, ANY, EVENT_DISK_LOST, FAILED, ACTION_GIVE_UP },
  { ON, ANY, EVENT_CONNECTED, ON, ACTION_RECOVERED },

  /* No policy meddles with an outage. */
  { OUTAGE, ANY, EVENT_UP, OUTAGE, ACTION_REFUSE },
  { OUTAGE, ANY, EVENT_TEST, OUTAGE, ACTION_REFUSE },
  { OUTAGE, ANY, EVENT_WAKE, OUTAGE, ACTION_GRANT },
  { OUTAGE, ANY, EVENT_DOWN, DRAINING, ACTION_DRAIN },
  { OUTAGE, ANY, EVENT_SLEEP, DRAINING, ACTION_DRAIN },
  { OUTAGE, ANY, EVENT_END, DRAINING, ACTION_DRAIN },
  { OUTAGE, ANY, EVENT_SWAP_GONE, DRAINING, ACTION_DRAIN },
  { OUTAGE, ANY, EVENT_DEVICE_GONE, DRAINING, ACTION_DRAIN },
  { OUTAGE, ANY, EVENT_SERVER_DIED, OUTAGE, ACTION_RECOVER },
  { OUTAGE, ANY, EVENT_DISK_LOST, FAILED, ACTION_GIVE_UP },
  { OUTAGE, ANY, EVENT_CONNECTED, ON, ACTION_RECOVERED },

  /* Draining: the kernel needs the server to the end of it. */
  { DRAINING, ANY, EVENT_UP, DRAINING, ACTION_REFUSE },
  { DRAINING, ANY, EVENT_TEST, DRAINING, ACTION_REFUSE },
  { DRAINING, ANY, EVENT_DOWN, DRAINING, ACTION_NONE },
  { DRAINING, ANY, EVENT_SLEEP, DRAINING, ACTION_NONE },
  { DRAINING, CAUSE_END, EVENT_END, DRAINING, ACTION_HURRY },
  { DRAINING, ANY, EVENT_END, DRAINING, ACTION_NONE },
  { DRAINING, ANY, EVENT_WAKE, DRAINING, ACTION_GRANT },
  { DRAINING, CAUSE_END, EVENT_CANCEL, DRAINING, ACTION_NONE },
  { DRAINING, ANY, EVENT_CANCEL, DRAINING, ACTION_CANCEL },
  { DRAINING, ANY, EVENT_SERVER_DIED, DRAINING, ACTION_RECOVER },
  { DRAINING, ANY, EVENT_DISK_LOST, DRAINING, ACTION_GIVE_UP },
  { DRAINING, ANY, EVENT_CONNECTED, DRAINING, ACTION_RECOVERED },
  { DRAINING, ANY, EVENT_JOB_DONE, DRAINING, ACTION_END_SERVER },
  { DRAINING, CAUSE_END, EVENT_JOB_REFUSED, DRAINING, ACTION_DRAIN_LATER },
  { DRAINING, CAUSE_END, EVENT_JOB_FAILED, DRAINING, ACTION_DRAIN_LATER },
  { DRAINING, CAUSE_END, EVENT_RETRY, DRAINING, ACTION_DRAIN },
  { DRAINING, ANY, EVENT_JOB_REFUSED, ON, ACTION_STAY_ON },
  { DRAINING, ANY, EVENT_JOB_FAILED, ON, ACTION_STAY_ON },
  { DRAINING, ANY, EVENT_SERVER_ENDED, OFF, ACTION_SETTLE },

  /* Paused.  Between the drain for a sleep and the wake-up nothing switches it
   * on: no policy, and no request.
   */
  { PAUSED, CAUSE_SLEEP, EVENT_UP, PAUSED, ACTION_REFUSE },
  { PAUSED, CAUSE_SLEEP, EVENT_WAKE, PAUSED, ACTION_WAKE },
  { PAUSED, CAUSE_POWER, EVENT_POWER_OK, STARTING, ACTION_START },
  { PAUSED, CAUSE_POWER, EVENT_RETRY, STARTING, ACTION_START },
  { PAUSED, CAUSE_IDLE, EVENT_MEMORY_SHORT, STARTING, ACTION_START },
  { PAUSED, ANY, EVENT_UP, STARTING, ACTION_START },
  { PAUSED, ANY, EVENT_TEST, PAUSED, ACTION_REFUSE },
  { PAUSED, ANY, EVENT_SLEEP, PAUSED, ACTION_GRANT },
  { PAUSED, ANY, EVENT_WAKE, PAUSED, ACTION_GRANT },
  { PAUSED, ANY, EVENT_DOWN, OFF, ACTION_GRANT },
  { PAUSED, ANY, EVENT_END, ENDED, ACTION_EXIT },

  /* Failed: what is left to do is to switch off what does not work. */
  { FAILED, ANY, EVENT_UP, FAILED, ACTION_REFUSE },
  { FAILED, ANY, EVENT_TEST, FAILED, ACTION_REFUSE },
  { FAILED, ANY, EVENT_WAKE, FAILED, ACTION_GRANT },
  { FAILED, ANY, EVENT_SLEEP, FAILED, ACTION_GRANT },
  { FAILED, ANY, EVENT_DOWN, DRAINING, ACTION_DRAIN },
  { FAILED, ANY, EVENT_END, DRAINING, ACTION_DRAIN },
  { FAILED, ANY, EVENT_SWAP_GONE, DRAINING, ACTION_DRAIN },
  { FAILED, ANY, EVENT_DEVICE_GONE, DRAINING, ACTION_DRAIN },
};

const struct transition *
states_find (enum state state, enum cause cause, enum event event)
{
  for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++)
    if (table[i].from == state && table[i].event == event &&
        (table[i].when == CAUSE_ANY || table[i].when == cause))
      return &table[i];
  return NULL;
}

enum cause
states_cause (enum event event)
{
  switch (event) {
  case EVENT_IDLE:
    return CAUSE_IDLE;
  case EVENT_POWER_LOW:
    return CAUSE_POWER;
  case EVENT_SLEEP:
    return CAUSE_SLEEP;
  case EVENT_DOWN:
    return CAUSE_REQUEST;
  case EVENT_SWAP_GONE:
  case EVENT_DEVICE_GONE:
    return CAUSE_OTHERS;
  case EVENT_END:
    return CAUSE_END;
  default:
    return CAUSE_NONE;
  }
}

const char *
state_name (enum state state)
{
  return state_names[state];
}

const char *
cause_name (enum cause cause)
{
  return cause_names[cause];
}

static int
find (const char *const *names, unsigned n, const char *name)
{
  for (unsigned i = 0; i < n; i++)
    if (strcmp (names[i], name) == 0)
      return i;
  return -1;
}

bool
state_find (const char *name, enum state *state)
{
  const int i = find (state_names, STATES, name);

  if (i >= 0)
    *state = i;
  return i >= 0;
}

bool
cause_find (const char *name, enum cause *cause)
{
  const int i = find (cause_names, CAUSES, name);

  if (i >= 0)
    *cause = i;
  return i >= 0;
}

bool
state_has_swap (enum state state)
{
  return state == STATE_ON || state == STATE_OUTAGE ||
         state == STATE_DRAINING || state == STATE_FAILED;
}
