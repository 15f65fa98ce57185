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

#include "capacity.h"
#include "life.h"
#include "msg.h"
#include "options.h"
#include "process.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "service.h"

int
cmd_serve (struct options *o)
{
  return service_serve (&o->conf);
}

/* Was PID started with descriptors, as of a disk that kernel and swap may still
 * need?  When that cannot be known, it was.
 */
static bool
has_inherited (pid_t pid)
{
  static char environment[1 << 16];
  const char *path = root_path ("/proc/%ld/environ", (long) pid);
  long n = read_text (path, environment, sizeof environment);

  if (n <= 0)
    return true;
  for (const char *p = environment; p < environment + n; p += strlen (p) + 1)
    if (strncmp (p, "LISTEN_FDS=", 11) == 0)
      return true;
  return false;
}

/* The children of PID get SIGKILL. */
static void
kill_children (pid_t pid)
{
  char text[1024], *rest = text, *word;

  if (read_text (
          root_path ("/proc/%ld/task/%ld/children", (long) pid, (long) pid),
          text, sizeof text) <= 0)
    return;
  while ((word = strsep (&rest, " ")) != NULL)
    if (atol (word) > 1)
      kill (atol (word), SIGKILL);
}

static bool
ends_within (pid_t pid, int64_t started, unsigned ms)
{
  const long long deadline = now_ms () + ms;

  while (process_started (pid) == started) {
    if (now_ms () >= deadline)
      return false;
    pause_ms (50);
  }
  return true;
}

/* Ends a server that nobody waits for any more.  systemd runs no ExecStop= when
 * a start has failed, and KillSignal= does nothing.  One that hangs in the
 * driver does not notice SIGTERM; there is nothing in its VRAM yet.
 */
static void
end_failed_start (pid_t pid)
{
  int64_t started = pid > 1 ? process_started (pid) : -1;

  if (started == -1)
    return;
  if (has_inherited (pid)) {
    error ("the server, process %ld, is left alone: it may have an earlier "
           "one's disk",
           (long) pid);
    return;
  }
  finish_undisturbed ();
  kill (pid, SIGTERM);
  if (ends_within (pid, started, 5000))
    return;
  kill_children (pid);
  if (!ends_within (pid, started, 5000))
    error ("the server, process %ld, does not end: the driver may be waiting "
           "for the GPU",
           (long) pid);
}

/* wait-server [PID]: for the unit, whose main process PID is. */
int
cmd_wait_server (struct options *o)
{
  pid_t pid = o->argc > 0 ? atol (o->argv[0]) : 0;
  struct server s;

  /* The unit's KillSignal=: it is to stop before it has started. */
  catch_signal (SIGCONT);
  if (service_wait (&o->conf, pid, &s) == -1) {
    end_failed_start (pid);
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  }
  /* The signal may have come before there was anybody to catch it. */
  if (pid > 1 && service_is_ending ()) {
    error ("the server is no longer wanted");
    end_failed_start (pid);
    return EXIT_INTERRUPTED;
  }
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
  const char *argv[] = { "systemctl", verb, unit, NULL };
  struct run r = { .limit = 60 };

  if (run (&r, argv, NULL, NULL) == 0)
    return 0;
  warning ("systemctl %s %s: %s", verb, unit, run_reason (&r));
  return -1;
}

/* What is remembered, the lock last. */
static int
remove_files (void)
{
  static const char *const files[] = {
    "/run/vram-swap.state",
    "/run/vram-swap.log",
    "/run/vram-swap-reconnect.log",
    "/run/vram-swap.outages",
    SETTINGS_IN_FORCE,
    "/run/vram-swap.lock",
  };
  int ret = 0;

  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    const char *path = root_path ("%s", files[i]);

    if (unlink (path) == -1 && errno != ENOENT) {
      warning ("%s: %m", path);
      ret = -1;
    }
  }
  return ret;
}

/* Everything off and nothing that would switch it on again; the files are the
 * package manager's, or make uninstall's, to remove.
 */
int
cmd_uninstall (struct options *o)
{
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
  close (lock);
  /* Both of them write down once more that it is off: stop-server, and the
   * service's own 'down', which finds nothing to do.  The timer ends with it.
   */
  service_await_end ();
  if (units && systemctl ("stop", SWAP_UNIT) == -1)
    status = EXIT_FAILED;
  lock = state_lock (10);
  if (lock == -1 || remove_files () == -1)
    status = EXIT_FAILED;
  if (lock != -1)
    close (lock);
  note ("off, and it will not come back by itself; now remove the package, or "
        "run make uninstall");
  return status;
}
