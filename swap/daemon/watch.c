/* nbdkit-vram: what others do to swap, device, power and memory
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All of it comes as events: /proc/swaps and the kernel's uevents tell of
 * changes, /proc/pressure/memory of want of memory.  Only idle-down and a
 * threshold for a battery's charge have a timer, while they are configured.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "msg.h"
#include "nbd-device.h"
#include "policy.h"
#include "power.h"
#include "root.h"
#include "run.h"

#define CHARGE_MS 120000 /* between looks at a battery's charge */
#define IDLE_MS   60000  /* the most between looks whether swap is empty */
#define BUSY_MS   1000   /* until a job has ended */
#define MEMORY_MS 10000  /* between looks at memory without pressure files */

static struct swaps swaps;

void
watch_open (struct daemon *d)
{
  const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK,
                                      .nl_groups = 1 };

  d->swaps = open (root_path ("/proc/swaps"), O_RDONLY | O_CLOEXEC);
  daemon_watch (d, d->swaps, EPOLLPRI);
  d->uevents = socket (AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                       NETLINK_KOBJECT_UEVENT);
  if (d->uevents == -1 || bind (d->uevents, (const struct sockaddr *) &kernel,
                                sizeof kernel) == -1)
    log_warning (
        "cannot receive uevents: %m; power and device changes will be missed");
  else
    daemon_watch (d, d->uevents, EPOLLIN);
}

enum event
watch_swaps (struct daemon *d)
{
  if (d->job.pid != 0 || !state_has_swap (d->st.state) ||
      d->st.state == STATE_DRAINING || d->server_only ||
      swaps_read (&swaps) == -1 || nbd_find_swap (&swaps, d->st.device))
    return EVENT_NONE;
  snprintf (d->st.reason, sizeof d->st.reason,
            "switched off by another program (swapoff)");
  return EVENT_SWAP_GONE;
}

/* Whether the device is still attached.  The kernel shows its client for as
 * long as swap is on there, but takes no more settings for it.
 */
static bool
is_attached (struct daemon *d)
{
  return runstate_device (&d->st) >= 0 &&
         (d->outage || nbd_netlink_attached (&d->nl, d->st.device));
}

enum event
watch_device (struct daemon *d)
{
  if (d->job.pid != 0 || !state_has_swap (d->st.state) ||
      d->st.state == STATE_DRAINING || d->server_only || is_attached (d))
    return EVENT_NONE;
  snprintf (d->st.reason, sizeof d->st.reason,
            "/dev/nbd%d was detached by another program, with swap on it",
            d->st.device);
  log_error ("%s: the swapped data is lost", d->st.reason);
  return EVENT_DEVICE_GONE;
}

void
watch_uevents (const struct daemon *d, bool *power, bool *device)
{
  char text[4096], name[32];
  struct sockaddr_nl from = { .nl_pid = 1 };
  socklen_t size = sizeof from;
  ssize_t n;

  *power = *device = false;
  snprintf (name, sizeof name, "DEVNAME=nbd%d", d->st.device);
  while ((n = recvfrom (d->uevents, text, sizeof text - 1, MSG_DONTWAIT,
                        (struct sockaddr *) &from, &size)) > 0 ||
         (n == -1 && errno == ENOBUFS)) {
    if (n == -1) {
      *power = *device = true; /* there was no room for all of it */
      continue;
    }
    /* Any program could send some. */
    if (from.nl_pid != 0)
      continue;
    text[n] = '\0';
    for (const char *p = text; p < text + n; p += strlen (p) + 1) {
      *power |= strcmp (p, "SUBSYSTEM=power_supply") == 0;
      *device |= strcmp (p, name) == 0;
    }
  }
}

void
watch_pressure (struct daemon *d, bool on)
{
  /* 150 ms of waiting for memory in a second. */
  static const char trigger[] = "some 150000 1000000";

  if (d->pressure != -1)
    close (d->pressure);
  d->pressure = -1;
  if (!on)
    return;
  d->pressure = open (root_path ("/proc/pressure/memory"), O_RDWR | O_CLOEXEC);
  if (d->pressure != -1 &&
      write (d->pressure, trigger, sizeof trigger) == sizeof trigger)
    daemon_watch (d, d->pressure, EPOLLPRI);
  else
    daemon_set_timer (d, TIMER_POLICY, MEMORY_MS);
}

/* How long nothing has been swapped out, and what follows. */
static enum event
look_at_idleness (struct daemon *d)
{
  const int64_t limit = conf_number (d->conf, CONF_IDLE_DOWN) * 1000;
  const struct swap *swap;

  if (limit == 0 || swaps_read (&swaps) == -1)
    return EVENT_NONE;
  swap = nbd_find_swap (&swaps, d->st.device);
  if (!swap || swap->used > 0)
    d->empty_since = 0;
  else if (d->empty_since == 0)
    d->empty_since = now_ms ();
  else if (now_ms () - d->empty_since >= limit)
    return EVENT_IDLE;
  daemon_set_timer (d, TIMER_POLICY, limit < IDLE_MS ? limit : IDLE_MS);
  return EVENT_NONE;
}

/* Swap is off because of a policy. */
static enum event
look_whether_over (struct daemon *d)
{
  struct power p = { .charge = -1 };

  if (d->st.cause == CAUSE_POWER) {
    power_read (&p);
    return policy_power_low (d->conf, &p, true) ? EVENT_NONE : EVENT_POWER_OK;
  }
  if (d->st.cause != CAUSE_IDLE)
    return EVENT_NONE;
  if (conf_number (d->conf, CONF_IDLE_DOWN) == 0 || policy_memory_short ())
    return EVENT_MEMORY_SHORT;
  if (d->pressure == -1)
    daemon_set_timer (d, TIMER_POLICY, MEMORY_MS);
  return EVENT_NONE;
}

enum event
watch_policies (struct daemon *d)
{
  struct power p = { .charge = -1 };

  if (d->server_only)
    return EVENT_NONE;
  if (d->st.state == STATE_PAUSED)
    return look_whether_over (d);
  if (d->st.state != STATE_ON)
    return EVENT_NONE;
  /* A reload comes first. */
  if (d->job.pid != 0 || d->replacing) {
    daemon_set_timer (d, TIMER_POLICY, BUSY_MS);
    return EVENT_NONE;
  }
  if (now_ms () < d->not_before) {
    daemon_set_timer (d, TIMER_POLICY, d->not_before - now_ms ());
    return EVENT_NONE;
  }
  if (!conf_is (d->conf, CONF_POWER_POLICY, "keep"))
    power_read (&p);
  if (policy_power_low (d->conf, &p, false))
    return EVENT_POWER_LOW;
  if (p.on_battery && conf_battery_threshold (d->conf) >= 0)
    daemon_set_timer (d, TIMER_POLICY, CHARGE_MS);
  return look_at_idleness (d);
}
