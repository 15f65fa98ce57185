/* nbdkit-vram: vram-swap policy and sleep: down and up again for good reasons
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What somebody switched off by hand stays off: these only switch on again
 * what they switched off themselves, which the state remembers as paused.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capacity.h"
#include "gpu.h"
#include "life.h"
#include "meminfo.h"
#include "msg.h"
#include "options.h"
#include "policy.h"
#include "power.h"
#include "root.h"
#include "run.h"
#include "service.h"

/* Memory is short, for the end of idle-down, when less of it is available. */
#define SHORT_PERCENT 20

bool
policy_power_down (const struct conf *c, const struct power *p, bool paused)
{
  int threshold = conf_battery_threshold (c);

  if (!p->on_battery || conf_is (c, CONF_POWER_POLICY, "keep"))
    return false;
  /* Once below the threshold it waits for mains, not for a battery that
   * recovers a little when the load goes.
   */
  return threshold == -1 || paused || p->charge < threshold;
}

/* Down on behalf of WHY. */
static int
pause_for (struct options *o, struct state *st, enum paused why)
{
  note ("down: %s policy", paused_name (why));
  o->pause = why;
  st->awake = false;
  return take_down (o, st);
}

static int
look_while_on (struct options *o, struct state *st, const struct power *p,
               int64_t used)
{
  int64_t idle = conf_number (&o->conf, CONF_IDLE_DOWN) * 1000;

  if (policy_power_down (&o->conf, p, false))
    return pause_for (o, st, PAUSED_POWER);
  if (idle == 0 || used > 0) {
    if (st->empty_since == 0)
      return EXIT_OK;
    st->empty_since = 0;
    return state_write (st) == 0 ? EXIT_OK : EXIT_FAILED;
  }
  if (st->empty_since == 0) {
    st->empty_since = now_ms ();
    return state_write (st) == 0 ? EXIT_OK : EXIT_FAILED;
  }
  if (now_ms () - st->empty_since >= idle)
    return pause_for (o, st, PAUSED_IDLE);
  return EXIT_OK;
}

static int
look_while_off (struct options *o, struct state *st, const struct power *p)
{
  struct meminfo m;

  if (policy_power_down (&o->conf, p, st->paused == PAUSED_POWER))
    return EXIT_OK;
  switch (st->paused) {
  case PAUSED_POWER:
    note ("up: power policy");
    return take_up (o, st);
  case PAUSED_IDLE:
    if (meminfo_read (&m) == -1)
      return EXIT_FAILED;
    if (conf_number (&o->conf, CONF_IDLE_DOWN) > 0 &&
        m.available > m.total / 100 * SHORT_PERCENT)
      return EXIT_OK;
    note ("up: memory is short");
    return take_up (o, st);
  case PAUSED_SLEEP:
    /* 'sleep post' is what ends it, unless it has failed. */
    if (!st->awake)
      return EXIT_OK;
    note ("up: awake again");
    return take_up (o, st);
  case PAUSED_NO: /* switched off by hand */
    break;
  }
  return EXIT_OK;
}

int
cmd_policy (struct options *o)
{
  int status = EXIT_FAILED, lock = service_lock (&o->conf, 60);
  struct state st;
  struct power p;
  int64_t used;
  bool on;

  if (lock == -1)
    return EXIT_FAILED;
  state_read (&st);
  power_read (&p);
  if (swap_is_on (&st, &on, &used))
    status =
        on ? look_while_on (o, &st, &p, used) : look_while_off (o, &st, &p);
  close (lock);
  return status;
}

/* Is the machine about to write its memory to disk?  For that the kernel stops
 * all programs, the server with them, and then makes room: swap must not be
 * where it could put something.  A hook's arguments or environment tell which
 * sleep it is, and otherwise what systemd is about to do.
 */
static bool
hibernates (const struct options *o)
{
  const char *argv[] = {
    "systemctl",           "list-jobs", "--plain",
    "--no-legend",         "--full",    "*hibernate.target",
    "hybrid-sleep.target", NULL
  };
  const char *action =
      o->argc > 1 ? o->argv[1] : getenv ("SYSTEMD_SLEEP_ACTION");
  struct run r = { .limit = 10 };

  if (action)
    return strstr (action, "hibernate") || strstr (action, "hybrid");
  if (!file_exists (root_path ("/run/systemd/system")))
    return false;
  if (run (&r, argv, NULL, NULL) == -1) {
    warning ("systemctl list-jobs: %s; taken for hibernation",
             run_reason (&r));
    return true;
  }
  return strstr (r.output, "hibernate.target") ||
         strstr (r.output, "hybrid-sleep.target");
}

static int
before_sleep (struct options *o, struct state *st)
{
  bool keeps = gpu_preserves () > 0, on, frozen;
  int status;

  if (!swap_is_on (st, &on, NULL))
    return EXIT_FAILED;
  if (!on) {
    /* Not while it sleeps again. */
    if (st->paused == PAUSED_SLEEP && st->awake) {
      st->awake = false;
      return state_write (st) == 0 ? EXIT_OK : EXIT_FAILED;
    }
    return EXIT_OK;
  }
  frozen = hibernates (o);
  if (!frozen && (conf_is (&o->conf, CONF_SLEEP_POLICY, "keep") ||
                  (conf_is (&o->conf, CONF_SLEEP_POLICY, "auto") && keeps))) {
    note ("sleep: swap stays on%s",
          keeps ? ", the driver preserves VRAM" : " as configured");
    return EXIT_OK;
  }
  status = pause_for (o, st, PAUSED_SLEEP);
  if (status == EXIT_OK)
    return EXIT_OK;
  if (frozen) {
    error ("not hibernating, because the kernel could not swap to VRAM then");
    return status;
  }
  if (conf_is (&o->conf, CONF_SLEEP_WHEN_FULL, "keep")) {
    warning ("sleeping with swap on, as sleep-when-full=keep says");
    return EXIT_OK;
  }
  error ("not sleeping, because VRAM may not survive it (sleep-when-full)");
  return status;
}

static int
after_sleep (struct options *o, struct state *st)
{
  struct power p;

  if (st->paused != PAUSED_SLEEP)
    return EXIT_OK;
  /* The cable may have been pulled meanwhile. */
  power_read (&p);
  if (policy_power_down (&o->conf, &p, false)) {
    st->paused = PAUSED_POWER;
    return state_write (st) == 0 ? EXIT_OK : EXIT_FAILED;
  }
  /* If it fails, the policy tries again. */
  st->awake = true;
  if (state_write (st) == -1)
    return EXIT_FAILED;
  note ("up: awake again");
  return take_up (o, st);
}

/* sleep pre|post [ACTION]: ACTION as systemd has it, such as hibernate. */
int
cmd_sleep (struct options *o)
{
  bool pre = o->argc > 0 && strcmp (o->argv[0], "pre") == 0;
  struct state st;
  int lock, status;

  if (!pre && (o->argc == 0 || strcmp (o->argv[0], "post") != 0)) {
    error ("wanted: vram-swap sleep pre|post [ACTION]");
    return EXIT_USAGE;
  }
  lock = pre ? state_lock (600) : service_lock (&o->conf, 600);
  if (lock == -1)
    return EXIT_FAILED;
  state_read (&st);
  status = pre ? before_sleep (o, &st) : after_sleep (o, &st);
  /* The machine does not sleep, but is off already: nobody says when it is over.
   */
  if (pre && status != EXIT_OK && st.paused == PAUSED_SLEEP) {
    st.awake = true;
    state_write (&st);
  }
  close (lock);
  return status;
}
