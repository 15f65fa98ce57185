/* nbdkit-vram: the commands that units and administrators call around the life
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "life.h"
#include "msg.h"
#include "options.h"
#include "room.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "service.h"

int
cmd_serve (struct options *o)
{
  return service_serve (&o->conf);
}

/* wait-server [PID]: for the unit, whose main process PID is. */
int
cmd_wait_server (struct options *o)
{
  pid_t pid = o->argc > 0 ? atol (o->argv[0]) : 0;
  struct server s;

  if (service_wait (&o->conf, pid, &s) == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  note ("server: %s%s%s", human (s.size), s.description[0] ? ", " : "",
        s.description);
  return EXIT_OK;
}

/* Is what systemd stops the unit for that it is to start it again? */
static bool
restart_is_wanted (void)
{
  const char *argv[] = { "systemctl",   "list-jobs", "--plain",
                         "--no-legend", "--full",    NULL };
  struct run r = { .limit = 10 };
  char unit[64], job[32], *line, *next;

  if (run (&r, argv, NULL, NULL) == -1)
    return false;
  for (line = r.output; line; line = next) {
    next = strchr (line, '\n');
    if (next)
      *next++ = '\0';
    if (sscanf (line, "%*d %63s %31s", unit, job) == 2 &&
        strcmp (unit, SERVER_UNIT) == 0 && strcmp (job, "restart") == 0)
      return true;
  }
  return false;
}

/* Ends the server in the way that leaves its disk, to the one that systemd is
 * about to start.
 */
static int
replace_server (pid_t pid)
{
  note ("the next server takes the disk over");
  if (kill (pid, SIGKILL) == -1 && errno != ESRCH) {
    error ("cannot end the server, process %ld: %m", (long) pid);
    return EXIT_FAILED;
  }
  return EXIT_OK;
}

/* stop-server PID: the unit's way to end its main process.  systemd would send
 * SIGTERM without asking, and nbdkit would end in the middle of swapping.
 */
int
cmd_stop_server (struct options *o)
{
  pid_t pid = o->argc == 1 ? atol (o->argv[0]) : 0;
  int status, lock;
  struct state st;

  if (pid <= 1) {
    error ("wanted: vram-swap stop-server PID");
    return EXIT_USAGE;
  }
  if (restart_is_wanted ())
    return replace_server (pid);
  lock = state_lock (1800);
  if (lock == -1)
    return EXIT_FAILED;
  state_read (&st);
  o->keep_server = true;
  o->wait = true;
  o->pause = st.paused;
  status = take_down (o, &st);
  close (lock);
  if (status != EXIT_OK)
    return status;
  if (kill (pid, SIGTERM) == -1 && errno != ESRCH) {
    error ("cannot end the server, process %ld: %m", (long) pid);
    return EXIT_FAILED;
  }
  return EXIT_OK;
}

int
cmd_reload (struct options *o)
{
  static const char *const words[] = {
    [CONF_LIVE] = "counts from now on",
    [CONF_AT_UP] = "counts after 'vram-swap down' and 'up'",
    [CONF_AT_NEW_SERVER] = "counts when the service has been restarted",
  };
  const char *path = root_path (SETTINGS_IN_FORCE);
  struct conf old;
  unsigned changes = 0;

  if (!file_exists (path)) {
    note ("swap has not been on: nothing to compare with");
    return EXIT_OK;
  }
  if (conf_load (&old, path, false) == -1) {
    conf_free (&old);
    return EXIT_FAILED;
  }
  for (unsigned k = 0; k < CONF_KEYS; k++) {
    if (strcmp (conf_text (&old, k), conf_text (&o->conf, k)) == 0)
      continue;
    changes++;
    note ("%s: %s -> %s: %s", conf_name (k), conf_text (&old, k),
          conf_text (&o->conf, k), words[conf_when (k)]);
  }
  if (changes == 0)
    note ("nothing has changed");
  conf_free (&old);
  return EXIT_OK;
}

static int
systemctl (const char *verb, const char *unit)
{
  const char *argv[] = { "systemctl", "--no-block", verb, unit, NULL };
  struct run r = { .limit = 60 };

  if (run (&r, argv, NULL, NULL) == 0)
    return 0;
  warning ("systemctl %s %s: %s", verb, unit, run_reason (&r));
  return -1;
}

/* Everything off and nothing that would switch it on again; the files are the
 * package manager's, or make uninstall's, to remove.
 */
int
cmd_uninstall (struct options *o)
{
  static const char *const files[] = {
    "/run/vram-swap.state",
    "/run/vram-swap.log",
    SETTINGS_IN_FORCE,
  };
  bool units = service_has_unit ();
  int status = EXIT_OK, lock;
  struct state st;

  /* First of all, so that it does not come back even if it cannot go now. */
  if (units && (systemctl ("disable", SWAP_UNIT) == -1 ||
                systemctl ("disable", "vram-swap-sleep.service") == -1))
    status = EXIT_FAILED;

  lock = state_lock (10);
  if (lock == -1)
    return EXIT_FAILED;
  state_read (&st);
  o->pause = PAUSED_NO;
  if (take_down (o, &st) != EXIT_OK) {
    error ("disabled, but still on until the next start of the machine");
    close (lock);
    return EXIT_FAILED;
  }
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
    unlink (root_path ("%s", files[i]));
  close (lock);
  /* Its own 'down' finds nothing to do any more; the timer ends with it. */
  if (units && systemctl ("stop", SWAP_UNIT) == -1)
    status = EXIT_FAILED;
  note ("off, and it will not come back by itself; now remove the package, or "
        "run make uninstall");
  return status;
}
