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
 * What is swapped out is on one disk and no other: while swap is on, a server is
 * handed over only when its disk begins with the swap that is on, told by its
 * UUID, which an empty one of the same size does not.
 *
 * What is not done is to read over each new connection, as 'up' does before swap
 * is on: one that nobody receives from costs its time-out, after which it is lost
 * and replaced like any other, and nothing else than that time-out ends it.
 *
 * This process waits beside swap, all of it in RAM, and needs nothing while swap
 * does not answer but the server's socket and netlink.
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "life.h"
#include "memlock.h"
#include "msg.h"
#include "nbd-device.h"
#include "nbd-netlink.h"
#include "options.h"
#include "outage.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "swaps.h"

#define TRY_MS     20    /* between looks whether there is a new server */
#define WRONG_MS   1000  /* the same, when there is one with another disk */
#define ANSWER_MS  10000 /* for a server's handshake */
#define COMPLAIN_S 10    /* how often it is said that there is none */
#define SETTLE_MS  500   /* until what the kernel noticed late is mended */

struct watch {
  const char *socket;
  unsigned device;
  unsigned connections;
  int64_t size;
  long long patience; /* the kernel's, ms */
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

static bool
swap_is_there (const struct watch *w)
{
  static struct swaps s;
  char path[32];

  snprintf (path, sizeof path, "/dev/nbd%u", w->device);
  /* When that is not known, nothing may be lost by it. */
  return swaps_read (&s) == -1 || swaps_find (&s, path);
}

enum result { DONE, NO_SERVER, WRONG_SERVER, REFUSED };

/* Whether the disk at the other end of FD is the one that swap is on.  It comes
 * to be known here when it is not.
 */
static enum result
check_disk (struct watch *w, int fd)
{
  static char start[SWAP_START];
  char id[SWAP_ID + 1];

  if (server_read (fd, start, sizeof start, ANSWER_MS) == -1)
    return NO_SERVER;
  if (!swap_identify (start, id) ||
      (w->outages.disk[0] && strcmp (w->outages.disk, id) != 0))
    return WRONG_SERVER;
  if (!w->outages.disk[0]) {
    memcpy (w->outages.disk, id, sizeof id);
    outages_write (&w->outages);
  }
  return DONE;
}

/* Remembers which disk swap is on, as soon as it is, for when the server has
 * been replaced.
 */
static void
know_disk (struct watch *w)
{
  struct server s;
  int fd;

  if (!swap_is_there (w)) {
    w->outages.disk[0] = '\0';
    return;
  }
  if (w->outages.disk[0])
    return;
  fd = server_connect (w->socket, ANSWER_MS, &s);
  if (fd == -1)
    return;
  check_disk (w, fd);
  close (fd);
}

/* Makes all connections anew, and hands them to the kernel, which takes as many
 * as it has lost.
 */
static enum result
connect_device (struct watch *w)
{
  int fds[NBD_SOCKETS_MAX] = { -1 }, r, saved;
  struct server s = { .pid = 0 };
  enum result result = DONE;
  unsigned n = 0;

  while (n < w->connections && result == DONE) {
    fds[n] = server_connect (w->socket, ANSWER_MS, &s);
    if (fds[n] == -1)
      result = NO_SERVER;
    else if (s.size != w->size)
      result = WRONG_SERVER;
    else if (swap_is_there (w))
      result = check_disk (w, fds[n]);
    n += fds[n] != -1;
  }
  if (result != DONE) {
    close_all (fds, n);
    return result;
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

/* What is said while an outage lasts. */
struct complaint {
  long long began, last;
  bool wrong, over; /* that has been said */
};

static void
complain (const struct watch *w, enum result result, int why,
          struct complaint *c)
{
  const long long now = now_ms ();
  const bool due = now - c->last >= COMPLAIN_S * 1000;

  if (result == WRONG_SERVER && !c->wrong) {
    c->wrong = true;
    error (
        "the server on %s has another disk than /dev/nbd%u, without what is "
        "swapped out: it is not connected, and everything waits for the "
        "right one",
        w->socket, w->device);
  }
  if (now - c->began >= w->patience && !c->over) {
    c->over = true;
    error (
        "no server for %lld s: the wait (outage-timeout) is over. The kernel "
        "fails all that needs what is swapped out: such programs are "
        "killed. A server that comes now is connected all the same, and "
        "what nobody needed meanwhile is there",
        (now - c->began) / 1000);
  }
  if (!due || c->over)
    return;
  c->last = now;
  if (result == NO_SERVER)
    error ("no server on %s for %lld s: everything that is swapped out waits",
           w->socket, (now - c->began) / 1000);
  else if (result == REFUSED) {
    errno = why;
    error ("/dev/nbd%u does not take the new connections: %m", w->device);
  }
}

/* Told to stop, and swap is off.  At shutdown the word comes early. */
static bool
may_stop (const struct watch *w)
{
  if (!was_interrupted ())
    return false;
  if (!swap_is_there (w))
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
  struct complaint c = { .began = began, .last = began };
  enum result result;
  int64_t took;

  while ((result = connect_device (w)) != DONE) {
    const int why = errno;

    if (!nbd_attached (w->device) || may_stop (w))
      return false;
    complain (w, result, why, &c);
    pause_ms (result == WRONG_SERVER ? WRONG_MS : TRY_MS);
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
  /* The server may have been replaced before we came. */
  bool settled = false;

  if (w->lost && !mend (w))
    return;
  while (!may_stop (w) && nbd_attached (w->device)) {
    struct pollfd fds[2] = {
      { .fd = w->nl.fd, .events = POLLIN },
      { .fd = w->server, .events = POLLIN }, /* poll ignores -1 */
    };
    int n = poll (fds, 2, settled && !was_interrupted () ? 2000 : SETTLE_MS);

    if (n > 0) {
      /* The driver tells of other devices as well. */
      if (!nbd_netlink_lost (&w->nl, w->device) && !fds[1].revents)
        continue;
      /* Detached on request, perhaps: the pid goes a moment later. */
      pause_ms (TRY_MS);
      if (!mend (w))
        return;
      nbd_netlink_lost (&w->nl, w->device);
      settled = false;
    }
    else if (n == 0 && !settled) {
      /* What the kernel had not noticed yet; nothing is lost by asking. */
      if (connect_device (w) != DONE && !mend (w))
        return;
      nbd_netlink_lost (&w->nl, w->device);
      settled = true;
    }
    else if (n == 0)
      know_disk (w);
  }
}

int
cmd_reconnect (struct options *o)
{
  struct watch w = { .server = -1, .nl = { .fd = -1 } };
  struct state st;
  struct server s;
  int n;

  state_read (&st);
  n = state_device (&st);
  if (n == -1) {
    error ("no device is attached");
    return EXIT_FAILED;
  }
  w.device = n;
  w.connections = st.connections;
  if (w.connections < nbd_connections (n))
    w.connections = nbd_connections (n);
  w.socket = conf_text (&o->conf, CONF_SOCKET);
  w.size = nbd_size (n);
  w.patience = conf_number (&o->conf, CONF_OUTAGE_TIMEOUT) * 1000LL;
  memlock_process ();
  if (nbd_netlink_open (&w.nl, true) == -1)
    return EXIT_FAILED;
  /* Swap goes on later than this process: where it is on, this is the next one
   * of the same watch.
   */
  if (!swap_is_there (&w) || !outages_read (&w.outages))
    outages_write (&w.outages);
  /* One that has gone already is a case like any other, and so is one with
   * another disk.
   */
  if (server_probe (w.socket, ANSWER_MS, &s) == PROBE_OK && s.size == w.size)
    w.server = open_process (s.pid);
  else
    w.lost = true;
  note ("/dev/nbd%u is watched over", w.device);
  watch (&w);
  if (w.server != -1)
    close (w.server);
  nbd_netlink_close (&w.nl);
  return EXIT_OK;
}
