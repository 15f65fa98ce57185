/* nbdkit-vram: what the daemon finds when it starts
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * An earlier daemon may have died at any instant, and its server may be alive
 * or not.  What it remembers is in the file in /run, its disk's descriptors
 * come from systemd, and the kernel says which process attached the device and
 * whether swap is on.
 */

#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon.h"
#include "disk/superblock.h"
#include "msg.h"
#include "nbd-device.h"
#include "pid1.h"
#include "root.h"
#include "run.h"
#include "server.h"

#define ORPHANS_MS 10000
#define PROBE_MS   2000

static struct swaps swaps;

/* The kernel parameter that keeps swap off on a machine that cannot boot. */
static bool
forbidden_at_boot (void)
{
  char line[4096], *word, *rest = line;

  if (read_text (root_path ("/proc/cmdline"), line, sizeof line) <= 0)
    return false;
  while ((word = strsep (&rest, " ")) != NULL)
    if (strcmp (word, "novramswap") == 0)
      return true;
  return false;
}

/* The server that an earlier daemon started, if it still runs. */
static bool
take_server (struct daemon *d)
{
  const pid_t pid = supervisor_find (&d->server);

  if (pid == 0 || supervisor_take (&d->server, pid) == -1)
    return false;
  log_info ("continuing with the server of the previous daemon, process %ld",
            (long) pid);
  daemon_watch (d, d->server.pidfd, EPOLLIN);
  return true;
}

/* Whether a server answers that was not started by a daemon. */
static bool
has_old_server (const struct daemon *d)
{
  struct server s;

  return supervisor_find (&d->server) == 0 && d->server.kept.n == 0 &&
         (server_probe ("/run/vram-swap/nbd.sock", PROBE_MS, &s) == PROBE_OK ||
          server_probe (d->server.socket, PROBE_MS, &s) == PROBE_OK);
}

static void
say_kept (const struct daemon *d)
{
  if (descriptors_complete (&d->server.kept))
    log_info ("received the disk of an earlier server: %zu descriptors",
              d->server.kept.n);
}

/* Swap is on: continue with it.  KNOWN: there was a state file. */
static void
take_swap (struct daemon *d, bool known)
{
  const bool alive = take_server (d);
  const bool kept = descriptors_complete (&d->server.kept);

  d->initial = false;
  /* Without a state file, a limit of 0 is what the earlier daemon has set. */
  pid1_keep_in_ram (d->st.init_swap_max, sizeof d->st.init_swap_max);
  if (strcmp (d->st.init_swap_max, "0") == 0)
    strcpy (d->st.init_swap_max, "max");
  outage_link (d);
  /* The earlier daemon may have died while they were others. */
  if (known)
    outage_limits (d);
  d->link.swap_on = true;
  d->st.cause = CAUSE_NONE;
  d->st.reason[0] = '\0';
  d->st.state = STATE_ON;
  if (alive && !kept)
    log_warning ("the disk's descriptors were not passed on: if the server "
                 "dies, the swapped data is lost; run 'vram-swap down' and "
                 "'vram-swap up' to fix this");
  say_kept (d);
  if (!alive) {
    daemon_handle (d, kept ? EVENT_SERVER_DIED : EVENT_DISK_LOST);
    return;
  }
  outage_spare (d);
  /* A connection may have been lost meanwhile. */
  daemon_handle (d, outage_connect (d));
}

/* Swap is on, on the device of a version that had no daemon.  Its server and
 * keeper are other processes, and run until it is empty.
 */
static void
take_old_version (struct daemon *d)
{
  log_warning ("an earlier version of vram-swap has swap on /dev/nbd%d: "
               "emptying it and switching it off first",
               d->st.device);
  d->start_again = true;
  d->st.cause = CAUSE_NONE;
  d->st.state = STATE_DRAINING;
  daemon_run_job (d, job_down);
}

/* A server or a device is left, without swap: end and detach them. */
static void
clear_away (struct daemon *d)
{
  take_server (d);
  d->start_again = true;
  d->st.state = STATE_DRAINING;
  d->st.cause = CAUSE_NONE;
  daemon_run_job (d, job_down);
}

static void
take_server_only (struct daemon *d)
{
  const bool kept = descriptors_complete (&d->server.kept);

  say_kept (d);
  if (take_server (d)) {
    d->initial = false;
    d->st.state = STATE_ON;
    d->st.cause = CAUSE_NONE;
    supervisor_notify (&d->server, "READY=1");
    return;
  }
  if (d->server.kept.ambiguous) {
    d->exits = true;
    d->exit_status = EXIT_FAILED;
    return;
  }
  if (!kept && d->server.kept.n > 0) {
    log_warning ("the disk of an earlier server is incomplete or was given "
                 "up: releasing it");
    supervisor_discard (&d->server);
  }
  d->st.state = STATE_OFF;
  daemon_handle (d, EVENT_UP);
}

int
daemon_take_over (struct daemon *d)
{
  const struct superblock_header *disk = descriptors_header (&d->server.kept);
  const bool known = runstate_read (&d->st);
  const enum state before = known ? d->st.state : STATE_ENDED;
  bool attached, on;

  attached = runstate_device (&d->st) >= 0 ||
             runstate_find_device (&d->st, disk ? disk->disk_size : 0);
  /* Its node may have been renamed: a device in use has swap on it. */
  on = attached &&
       ((swaps_read (&swaps) == 0 && nbd_find_swap (&swaps, d->st.device)) ||
        nbd_in_use (d->st.device) == 1);
  if (!attached)
    d->st.device = -1;
  job_await_orphans (ORPHANS_MS);
  if (attached && nbd_netlink_open (&d->nl, true) == 0)
    daemon_watch (d, d->nl.fd, EPOLLIN);
  d->initial = true;
  if (d->server_only)
    take_server_only (d);
  else if (on && has_old_server (d))
    take_old_version (d);
  else if (on)
    take_swap (d, known);
  else if (attached || supervisor_find (&d->server) > 0)
    clear_away (d);
  else if (before == STATE_PAUSED)
    d->initial = false;
  else if (before == STATE_OFF) {
    d->initial = false;
    d->st.cause = CAUSE_REQUEST;
  }
  else if (forbidden_at_boot () && !d->test) {
    d->initial = false;
    d->st.state = STATE_OFF;
    d->st.cause = CAUSE_REQUEST;
    snprintf (d->st.reason, sizeof d->st.reason,
              "novramswap is on the kernel command line");
    log_warning ("%s", d->st.reason);
  }
  else {
    if (d->server.kept.n > 0) {
      log_warning ("nothing is swapped out to the disk of an earlier server: "
                   "releasing it");
      supervisor_discard (&d->server);
    }
    runstate_reset (&d->st);
    d->order.fill = d->fill;
    daemon_handle (d, d->test ? EVENT_TEST : EVENT_UP);
  }
  return d->exits ? d->exit_status : EXIT_OK;
}
