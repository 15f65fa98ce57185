/* nbdkit-vram: starts and stops 'vram-swap reconnect', which waits beside swap
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <unistd.h>

#include "msg.h"
#include "process.h"
#include "root.h"
#include "run.h"
#include "service.h"
#include "watcher.h"

#define LOG "/run/vram-swap-reconnect.log"

static void
start_watching (void *opaque)
{
  _exit (cmd_reconnect (opaque));
}

/* Waits for up to a minute. */
static int
control_unit (const char *verb)
{
  const char *argv[] = { "systemctl", verb, WATCHER_UNIT, NULL };
  struct run r = { .limit = 60 };

  if (run (&r, argv, NULL, NULL) == -1) {
    error ("systemctl %s %s: %s", verb, WATCHER_UNIT, run_reason (&r));
    return -1;
  }
  return 0;
}

int
watcher_start (const struct options *o, struct state *st)
{
  if (service_has_unit ())
    return control_unit ("start");
  st->watcher_pid =
      process_detached (root_path (LOG), start_watching, (void *) o);
  if (st->watcher_pid == -1) {
    st->watcher_pid = 0;
    return -1;
  }
  st->watcher_started = process_started (st->watcher_pid);
  return state_write (st);
}

void
watcher_stop (struct state *st)
{
  if (service_has_unit ()) {
    control_unit ("stop");
    return;
  }
  if (st->watcher_pid > 0 &&
      process_started (st->watcher_pid) == st->watcher_started)
    kill (st->watcher_pid, SIGTERM);
  st->watcher_pid = 0;
  st->watcher_started = 0;
}
