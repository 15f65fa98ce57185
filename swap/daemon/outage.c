/* nbdkit-vram: from the server's death until the kernel has the next one
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Until the kernel has it, nothing here opens a file, allocates memory, or
 * waits for another program than the server itself.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon.h"
#include "msg.h"
#include "nbd-device.h"
#include "root.h"
#include "run.h"
#include "spare.h"

#define TRY_MS      100   /* between tries when the server says it is ready */
#define SILENT_MS   1000  /* the same when it has not said so */
#define WRONG_MS    1000  /* the same when it has another disk */
#define COMPLAIN_MS 10000 /* between messages that there is none */
#define FAIL_MS     1000  /* until all that waited has been sent */
#define OF_KERNEL   (48 << 20) /* bytes, see outage_spare */
#define SETTLE_MS   500  /* until what the kernel noticed late is mended */
#define REPLACE_MS  2000 /* until older requests have been answered */
#define REPLACE_S   3    /* the time limit of a request meanwhile, seconds */

void
outage_link (struct daemon *d)
{
  d->link.socket = conf_text (d->conf, CONF_SOCKET);
  d->link.device = d->st.device;
  d->link.connections = d->st.connections;
  d->link.size = d->st.size;
  memcpy (d->link.disk, d->st.disk, sizeof d->link.disk);
}

/* For the next server, while this one serves: the most that it has had in RAM,
 * and what the driver had the kernel allocate, which is in no process.  On an
 * H100 that was 20 to 42 MiB.
 */
void
outage_spare (const struct daemon *d)
{
  int64_t peak;

  if (d->server_only || d->server.pid == 0 || d->outage ||
      d->st.state == STATE_DRAINING)
    return;
  if (!conf_is (d->conf, CONF_SPARE, "auto"))
    spare_hold (conf_number (d->conf, CONF_SPARE));
  else if (read_field_kib (
               root_path ("/proc/%ld/status", (long) d->server.pid),
               "VmHWM:", &peak))
    spare_hold (peak + OF_KERNEL);
}

void
outage_start_server (struct daemon *d)
{
  if (supervisor_start (&d->server) == -1) {
    daemon_set_timer (d, TIMER_SERVER, SILENT_MS);
    return;
  }
  daemon_watch (d, d->server.pidfd, EPOLLIN);
  if (!d->server_only)
    daemon_set_timer (d, TIMER_CONNECT,
                      server_is_ours (d->conf) ? SILENT_MS : TRY_MS);
}

void
outage_limits (const struct daemon *d)
{
  nbd_hold (d->st.device, d->st.connections, d->st.timeout,
            conf_number (d->conf, CONF_OUTAGE_TIMEOUT));
}

/* Gives new requests a limit of so many SECONDS.  Opens no file. */
static int
set_limit (struct daemon *d, unsigned seconds)
{
  return nbd_netlink_set_limits (&d->nl, d->st.device,
                                 conf_number (d->conf, CONF_OUTAGE_TIMEOUT),
                                 seconds);
}

static void
end_short_limit (struct daemon *d)
{
  if (d->short_limit && d->st.device >= 0)
    set_limit (d, d->st.timeout);
  d->short_limit = false;
}

/* With several connections, or with a timeout, a request that is under way
 * when its server dies is sent again after the limit that was in force when it
 * was sent.  That is long, so that a slow server does not lose its
 * connections.  Here new requests get a short one first.  The server is killed
 * before that has passed, so that it never works on a request that was sent
 * again.
 */
void
outage_replace (struct daemon *d)
{
  d->short_limit = !d->server_only &&
                   (d->st.connections > 1 || d->st.timeout > 0) &&
                   set_limit (d, REPLACE_S) == 0;
  if (d->short_limit)
    daemon_set_timer (d, TIMER_REPLACE, REPLACE_MS);
  else
    supervisor_replace (&d->server);
}

void
outage_replace_now (struct daemon *d)
{
  if (d->replacing && d->server.pid != 0)
    supervisor_replace (&d->server);
  else
    end_short_limit (d);
}

/* The kernel has no server from now on. */
static void
begin (struct daemon *d)
{
  if (d->outage)
    return;
  end_short_limit (d);
  spare_give ();
  d->outage = true;
  d->over = d->wrong = false;
  d->outage_began = now_ms ();
  daemon_set_timer (d, TIMER_COMPLAIN, COMPLAIN_MS);
  daemon_set_timer (d, TIMER_PATIENCE,
                    conf_number (d->conf, CONF_OUTAGE_TIMEOUT) * 1000);
}

void
outage_begin (struct daemon *d)
{
  begin (d);
  if (d->server.pause > 0)
    daemon_set_timer (d, TIMER_SERVER, d->server.pause);
  else
    outage_start_server (d);
}

enum event
outage_connect (struct daemon *d)
{
  /* Without a server there is nothing to connect before the next one starts.
   */
  if (d->server_only || d->st.device < 0 || d->server.pid == 0)
    return EVENT_NONE;
  d->outage_why = link_connect (&d->link, &d->nl);
  d->outage_errno = errno;
  if (d->outage_why == LINK_DONE) {
    /* Once more for what the kernel had not noticed yet; nothing is lost by
     * that.
     */
    daemon_set_timer (d, TIMER_CONNECT, d->outage ? SETTLE_MS : -1);
    return d->outage ? EVENT_CONNECTED : EVENT_NONE;
  }
  if (!nbd_attached (d->st.device))
    return watch_device (d);
  begin (d);
  if (d->outage_why == LINK_WRONG_SERVER && !d->wrong) {
    d->wrong = true;
    log_error (
        "the server on %s serves a different disk than /dev/nbd%d, without "
        "the swapped data: not connecting it, waiting for the right one",
        d->link.socket, d->st.device);
  }
  daemon_set_timer (d, TIMER_CONNECT,
                    d->outage_why == LINK_WRONG_SERVER ? WRONG_MS
                    : d->server.ready                  ? TRY_MS
                                                       : SILENT_MS);
  return EVENT_NONE;
}

void
outage_complain (struct daemon *d)
{
  const long long s = (now_ms () - d->outage_began) / 1000;

  if (!d->outage || d->over)
    return;
  daemon_set_timer (d, TIMER_COMPLAIN, COMPLAIN_MS);
  errno = d->outage_errno;
  if (d->outage_why == LINK_REFUSED)
    log_error ("cannot reconnect /dev/nbd%d: %m", d->st.device);
  else if (d->outage_why == LINK_NO_SERVER)
    log_error (
        "no server on %s for %lld s: programs that need swapped pages wait",
        d->link.socket, s);
}

void
outage_is_over (struct daemon *d)
{
  if (!d->outage || d->server_only)
    return;
  d->over = true;
  log_error ("no server for %lld s (outage-timeout): failing all requests, so "
             "programs that need swapped pages are killed; a server that "
             "starts later is connected again",
             (now_ms () - d->outage_began) / 1000);
  outage_fail (d);
}

void
outage_fail (struct daemon *d)
{
  if (link_fail (&d->link, &d->nl) == -1)
    log_error ("/dev/nbd%d: cannot fail the waiting requests: %m",
               d->st.device);
  daemon_set_timer (d, TIMER_FAIL, FAIL_MS);
}

void
outage_end (struct daemon *d)
{
  const long long took = now_ms () - d->outage_began;

  daemon_set_timer (d, TIMER_COMPLAIN, -1);
  daemon_set_timer (d, TIMER_PATIENCE, -1);
  if (!d->outage || d->st.device < 0) {
    d->outage = false;
    return;
  }
  d->outage = false;
  if (d->over)
    outage_limits (d);
  d->over = false;
  memcpy (d->st.disk, d->link.disk, sizeof d->st.disk);
  d->st.outages++;
  d->st.outage_last_ms = took;
  d->st.outage_at = now_ms ();
  if (took > d->st.outage_longest_ms)
    d->st.outage_longest_ms = took;
  outage_spare (d);
  if (d->replacing)
    log_info ("/dev/nbd%d has the next server after %lld ms", d->st.device,
              took);
  else
    log_warning ("/dev/nbd%d lost its server; reconnected after %lld ms",
                 d->st.device, took);
  runstate_write (&d->st);
  if (d->replacing) {
    d->replacing = false;
    tell_end (d, EXIT_OK);
  }
}
