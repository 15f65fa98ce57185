/* nbdkit-vram: tests the table of states and events
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdbool.h>

#include "states.h"
#include "test.h"

/* Where EVENT leads, which is STATE itself when it does nothing. */
static enum state
after (enum state state, enum cause cause, enum event event)
{
  const struct transition *t = states_find (state, cause, event);

  return t ? t->to : state;
}

static enum action
action_of (enum state state, enum cause cause, enum event event)
{
  const struct transition *t = states_find (state, cause, event);

  return t ? t->action : ACTION_NONE;
}

static void
test_names (void)
{
  enum state state;
  enum cause cause;

  for (unsigned i = 0; i < STATES; i++)
    CHECK (state_find (state_name (i), &state) && state == i);
  for (unsigned i = 0; i < CAUSES; i++)
    CHECK (cause_find (cause_name (i), &cause) && cause == i);
  CHECK (!state_find ("up", &state));
  CHECK (!cause_find ("", &cause));
}

/* What the kernel may have on the device is only taken from it by draining,
 * and its server is only ended when that is through.
 */
static void
test_swap_is_drained (void)
{
  for (unsigned c = 0; c < CAUSES; c++)
    for (unsigned e = 0; e < EVENTS; e++) {
      static const enum state on[] = { STATE_ON, STATE_OUTAGE, STATE_FAILED };

      for (size_t i = 0; i < 3; i++) {
        CHECK (state_has_swap (after (on[i], c, e)));
        CHECK (action_of (on[i], c, e) != ACTION_END_SERVER);
      }
      if (e != EVENT_SERVER_ENDED)
        CHECK (state_has_swap (after (STATE_DRAINING, c, e)));
      if (e != EVENT_JOB_DONE)
        CHECK (action_of (STATE_DRAINING, c, e) != ACTION_END_SERVER);
    }
}

/* Between the drain for a sleep and the wake-up nothing switches swap on. */
static void
test_sleep (void)
{
  for (unsigned e = 0; e < EVENTS; e++) {
    const enum state to = after (STATE_PAUSED, CAUSE_SLEEP, e);

    CHECK (to != STATE_STARTING && to != STATE_ON);
    if (e != EVENT_DOWN && e != EVENT_END)
      CHECK (to == STATE_PAUSED);
  }
  CHECK (action_of (STATE_PAUSED, CAUSE_SLEEP, EVENT_WAKE) == ACTION_WAKE);
  CHECK (action_of (STATE_PAUSED, CAUSE_SLEEP, EVENT_UP) == ACTION_REFUSE);
  CHECK (action_of (STATE_PAUSED, CAUSE_SLEEP, EVENT_MEMORY_SHORT) ==
         ACTION_NONE);
  /* A pause of the idle policy becomes one for the sleep. */
  CHECK (states_cause (EVENT_SLEEP) > CAUSE_IDLE);
  CHECK (states_cause (EVENT_SLEEP) > CAUSE_POWER);
  CHECK (states_cause (EVENT_SLEEP) < states_cause (EVENT_DOWN));
}

static void
test_off_stays_off (void)
{
  for (unsigned e = 0; e < EVENTS; e++) {
    const enum state to = after (STATE_OFF, CAUSE_REQUEST, e);

    if (e != EVENT_UP && e != EVENT_TEST && e != EVENT_END)
      CHECK (to == STATE_OFF);
  }
}

/* SIGTERM ends the daemon, sooner or later, in every state. */
static void
test_end (void)
{
  for (unsigned s = 0; s < STATE_ENDED; s++) {
    const struct transition *t = states_find (s, CAUSE_NONE, EVENT_END);

    CHECK (t != NULL);
    if (t && t->to != STATE_ENDED)
      CHECK (t->to == STATE_DRAINING || t->action == ACTION_CANCEL);
  }
  CHECK (action_of (STATE_DRAINING, CAUSE_END, EVENT_JOB_REFUSED) ==
         ACTION_DRAIN_LATER);
  CHECK (action_of (STATE_DRAINING, CAUSE_END, EVENT_CANCEL) == ACTION_NONE);
  /* The second time all processes are about to be killed. */
  CHECK (action_of (STATE_ON, CAUSE_NONE, EVENT_END) == ACTION_DRAIN);
  CHECK (action_of (STATE_DRAINING, CAUSE_END, EVENT_END) == ACTION_HURRY);
}

static void
test_outage (void)
{
  CHECK (after (STATE_ON, CAUSE_NONE, EVENT_SERVER_DIED) == STATE_OUTAGE);
  CHECK (after (STATE_OUTAGE, CAUSE_NONE, EVENT_CONNECTED) == STATE_ON);
  CHECK (after (STATE_ON, CAUSE_NONE, EVENT_DISK_LOST) == STATE_FAILED);
  /* A drain continues in an outage, and needs the next server. */
  CHECK (after (STATE_DRAINING, CAUSE_REQUEST, EVENT_SERVER_DIED) ==
         STATE_DRAINING);
  CHECK (action_of (STATE_DRAINING, CAUSE_REQUEST, EVENT_SERVER_DIED) ==
         ACTION_RECOVER);
  CHECK (after (STATE_OUTAGE, CAUSE_NONE, EVENT_IDLE) == STATE_OUTAGE);
  CHECK (after (STATE_OUTAGE, CAUSE_NONE, EVENT_POWER_LOW) == STATE_OUTAGE);
}

static void
test_start (void)
{
  CHECK (after (STATE_STARTING, CAUSE_NONE, EVENT_JOB_DONE) == STATE_ON);
  /* Told to stop too late. */
  CHECK (after (STATE_STARTING, CAUSE_REQUEST, EVENT_JOB_DONE) ==
         STATE_DRAINING);
  CHECK (action_of (STATE_STARTING, CAUSE_NONE, EVENT_DOWN) == ACTION_CANCEL);
  CHECK (action_of (STATE_STARTING, CAUSE_NONE, EVENT_JOB_FAILED) ==
         ACTION_END_SERVER);
}

int
main (void)
{
  test_names ();
  test_swap_is_drained ();
  test_sleep ();
  test_off_stays_off ();
  test_end ();
  test_outage ();
  test_start ();
  FINISH;
}
