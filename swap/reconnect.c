/* nbdkit-vram: vram-swap reconnect: gives the kernel new connections when the server has been replaced
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the kernel's nbd driver does when a server dies: each connection whose
 * end it meets is lost.  Requests that come now, and those that could not be
 * sent, wait for a new connection, for as long as the device's patience goes
 * (NBD_ATTR_DEAD_CONN_TIMEOUT), and then fail.  Requests that had been sent and
 * were not answered wait for their own time-out; it finds that the connection
 * is another one by now, and sends them again.  So both times matter, see
 * nbd_hold ().
 *
 * This process waits beside swap, all of it in RAM, and needs nothing while swap
 * does not answer but the server's socket and netlink.
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "life.h"
#include "msg.h"
#include "nbd-device.h"
#include "nbd-netlink.h"
#include "options.h"
#include "outage.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "swaps.h"
#include "unswapped.h"

#define TRY_MS     20    /* between looks whether there is a new server */
#define ANSWER_MS  10000 /* for a server's handshake */
#define COMPLAIN_S 10    /* how often it is said that there is none */
#define SETTLE_MS  500   /* until what the kernel noticed late is mended */

struct watch {
  const char *socket;
  unsigned device;
  unsigned connections;
  int64_t size;
  int server; /* pidfd of the server's process, -1 when it is not known */
  bool lost;  /* there was no server when we came */
  struct nbd_netlink nl;
  struct outages outages;
};

/* A descriptor that becomes readable when process PID ends. */
static int
open_process (pid_t pid)
{
  return pid > 0 ? (int) syscall (SYS_pidfd_open, pid, 0) : -1;
}

static void
close_all (const int *fds, unsigned n)
{
  for (unsigned i = 0; i < n; i++)
    close (fds[i]);
}

enum result { DONE, NO_SERVER, WRONG_SERVER, REFUSED };

/* Makes all connections anew, and hands them to the kernel, which takes as many
 * as it has lost.
 */
static enum result
connect_device (struct watch *w)
{
  int fds[NBD_SOCKETS_MAX] = { -1 }, r, saved;
  struct server s = { .pid = 0 };
  unsigned n;

  for (n = 0; n < w->connections; n++) {
    fds[n] = server_connect (w->socket, ANSWER_MS, &s);
    if (fds[n] == -1)
      break;
    if (s.size != w->size) {
      close_all (fds, n + 1);
      return WRONG_SERVER;
    }
  }
  if (n < w->connections) {
    close_all (fds, n);
    return NO_SERVER;
  }
  r = nbd_netlink_reconnect (&w->nl, w->device, fds, n);
  saved = errno;
  close_all (fds, n);
  if (r == -1) {
    errno = saved;
    return REFUSED;
  }
  if (w->server != -1)
    close (w->server);
  w->server = open_process (s.pid);
  return DONE;
}

static void
complain (const struct watch *w, enum result result, long long ms)
{
  switch (result) {
  case NO_SERVER:
    error ("no server on %s for %lld s: everything that is swapped out waits",
           w->socket, ms / 1000);
    break;
  case WRONG_SERVER:
    error ("the server on %s has a disk of another size: not what is swapped "
           "out; everything waits",
           w->socket);
    break;
  case REFUSED:
    error ("/dev/nbd%u does not take the new connections: %m", w->device);
    break;
  case DONE:
    break;
  }
}

/* Told to stop, and swap is off.  At shutdown the word comes early. */
static bool
may_stop (const struct watch *w)
{
  struct swaps s;
  char path[32];

  if (!was_interrupted ())
    return false;
  snprintf (path, sizeof path, "/dev/nbd%u", w->device);
  if (swaps_read (&s) == -1 || !swaps_find (&s, path))
    return true;
  finish_undisturbed ();
  return false;
}

/* The server has gone, or a connection.  Returns false when there is nothing
 * left to do: the device is detached, or we were told to stop.
 */
static bool
mend (struct watch *w)
{
  const long long began = now_ms ();
  long long complained = began;
  enum result result;
  int64_t took;

  while ((result = connect_device (w)) != DONE) {
    if (!nbd_attached (w->device) || may_stop (w))
      return false;
    pause_ms (TRY_MS);
    if (now_ms () - complained >= COMPLAIN_S * 1000) {
      complain (w, result, now_ms () - began);
      complained = now_ms ();
    }
  }
  took = now_ms () - began;
  w->outages.count++;
  w->outages.last_ms = took;
  w->outages.last_at = now_ms ();
  if (took > w->outages.longest_ms)
    w->outages.longest_ms = took;
  warning ("/dev/nbd%u had lost its server; new connections after %lld ms",
           w->device, (long long) took);
  outages_write (&w->outages);
  return true;
}

static void
watch (struct watch *w)
{
  bool settled = true;

  if (w->lost && !mend (w))
    return;
  while (!may_stop (w) && nbd_attached (w->device)) {
    struct pollfd fds[2] = {
      { .fd = w->nl.fd, .events = POLLIN },
      { .fd = w->server, .events = POLLIN }, /* poll ignores -1 */
    };
    int n = poll (fds, 2, settled && !was_interrupted () ? 2000 : SETTLE_MS);

    if (n > 0) {
      nbd_netlink_drain (&w->nl);
      /* Detached on request, perhaps: the pid goes a moment later. */
      pause_ms (TRY_MS);
      if (!mend (w))
        return;
      nbd_netlink_drain (&w->nl);
      settled = false;
    }
    else if (n == 0 && !settled) {
      /* What the kernel had not noticed yet; nothing is lost by asking. */
      connect_device (w);
      nbd_netlink_drain (&w->nl);
      settled = true;
    }
  }
}

int
cmd_reconnect (struct options *o)
{
  struct watch w = { .server = -1, .nl = { .fd = -1 } };
  struct state st;
  struct server s;
  int status = EXIT_FAILED, n;

  state_read (&st);
  n = state_device (&st);
  if (n == -1) {
    error ("no device is attached");
    return EXIT_FAILED;
  }
  w.device = n;
  w.connections = st.connections;
  w.socket = conf_text (&o->conf, CONF_SOCKET);
  w.size = nbd_size (n);
  stay_unswapped ();
  if (nbd_netlink_open (&w.nl, true) == -1)
    return EXIT_FAILED;
  outages_write (&w.outages);
  /* One that has gone already is a case like any other. */
  if (server_probe (w.socket, ANSWER_MS, &s) == PROBE_OK) {
    if (s.size != w.size) {
      error ("the server on %s is not the one of /dev/nbd%u", w.socket,
             w.device);
      goto out;
    }
    w.server = open_process (s.pid);
  }
  else
    w.lost = true;
  note ("/dev/nbd%u is watched over", w.device);
  watch (&w);
  status = EXIT_OK;

out:
  if (w.server != -1)
    close (w.server);
  nbd_netlink_close (&w.nl);
  return status;
}
