/* nbdkit-vram: attaches an nbd device to the server, and switches swap on
 * there
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capacity.h"
#include "jobs.h"
#include "msg.h"
#include "nbd-device.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "swaps.h"

#define AUTO_TRIES  16    /* other programs may take free devices as we do */
#define SOUND_TRIES 3     /* with several connections, before one must do */
#define VERIFY_MS   10000 /* for a read that takes less than one */
#define LEAVE_MS    20000 /* for the kernel to let a device go that hangs */
#define LOOK_MS     100   /* between looks whether the server answers */
#define BAD_TRIES   10

/* The attachment is remembered before the client's first instruction, so that
 * the device can be told from others' even when this process is killed.
 */
static int
remember (pid_t pid, void *opaque)
{
  struct attachment *a = opaque;

  a->attach_pid = pid;
  if (job_tell_attachment (a))
    return 0;
  log_error ("cannot record the device in the state file; not attaching it");
  return -1;
}

static int
detach (struct attachment *a)
{
  pid_t pid;

  finish_undisturbed ();
  if (a->device >= 0 && nbd_attached_by (a->device, &pid) &&
      pid == a->attach_pid && nbd_disconnect (a->device, LEAVE_MS) == -1)
    return -1;
  *a = (struct attachment){ .device = -1 };
  job_tell_attachment (a);
  return 0;
}

static int
wait_for_server (const struct conf *c, pid_t pid, struct server *s)
{
  const char *socket = conf_text (c, CONF_SOCKET);
  const int64_t limit = conf_number (c, CONF_START_TIMEOUT);
  const long long deadline = now_ms () + limit * 1000;
  unsigned bad = 0;
  enum probe p;

  for (;;) {
    p = server_probe (socket, 1000, s);
    if (p == PROBE_OK && s->pid == pid)
      return 0;
    if (interrupted ())
      return -1;
    if (kill (pid, 0) == -1) {
      log_error ("the server ended before it was ready; see its log "
                 "(journalctl -u vram-swap)");
      return -1;
    }
    /* A server that is ending hangs up, too: give it time to end. */
    if (p == PROBE_BAD && ++bad > BAD_TRIES) {
      log_error ("%s: not an NBD server with a disk", socket);
      return -1;
    }
    if (now_ms () >= deadline) {
      log_error (p == PROBE_ABSENT
                     ? "no server on %s after %lld s (start-timeout)"
                     : "the server on %s did not answer within %lld s "
                       "(start-timeout): it may still be waiting for the GPU",
                 socket, (long long) limit);
      return -1;
    }
    pause_ms (LOOK_MS);
  }
}

static int
attach_one (const struct conf *c, struct attachment *a, unsigned n, char *why,
            size_t size)
{
  struct nbd_attach how = {
    .socket = conf_text (c, CONF_SOCKET),
    .connections = a->connections,
    .timeout = a->timeout,
    .started = remember,
    .opaque = a,
  };

  a->device = n;
  return nbd_attach (n, &how, why, size);
}

/* FIRST is the lowest device that is tried when any will do. */
static int
attach_some (const struct conf *c, struct attachment *a, int first)
{
  const bool any = conf_is (c, CONF_NBD_DEVICE, "auto");
  int n = any ? first : atoi (conf_text (c, CONF_NBD_DEVICE) + 8);
  char why[512];
  pid_t pid;

  for (unsigned tries = 0; tries < AUTO_TRIES; tries++, n++) {
    if (any)
      n = nbd_find_free (n);
    if (n == -1 && !nbd_exists (0)) {
      log_error ("the nbd driver has no devices (nbds_max=0); run 'modprobe "
                 "-r nbd' and 'modprobe nbd nbds_max=16'");
      return -1;
    }
    if (n == -1) {
      log_error ("all nbd devices are in use; for more, run 'modprobe -r nbd' "
                 "and 'modprobe nbd nbds_max=N'");
      return -1;
    }
    if (!nbd_exists (n)) {
      log_error ("/dev/nbd%d does not exist", n);
      return -1;
    }
    if (!any && nbd_attached (n)) {
      log_error ("/dev/nbd%d is in use by another client", n);
      return -1;
    }
    if (attach_one (c, a, n, why, sizeof why) == 0)
      return 0;
    if (interrupted ())
      break;
    /* Another program was faster? */
    if (any && nbd_attached_by (n, &pid) && pid != a->attach_pid)
      continue;
    log_error ("cannot attach /dev/nbd%d: %s", n, why);
    break;
  }
  detach (a);
  return -1;
}

/* Attaches, and again when a connection turns out to have no receiver; the
 * last try is with a single one, which always has.
 */
static int
attach_sound (const struct conf *c, struct attachment *a)
{
  int first = 0;

  for (unsigned tries = 1;; tries++) {
    if (attach_some (c, a, first) == -1)
      return -1;
    if (nbd_hold (a->device, a->connections, a->timeout,
                  conf_number (c, CONF_OUTAGE_TIMEOUT)) == -1) {
      /* By another process then, which nbd-client has left behind. */
      nbd_disconnect (a->device, LEAVE_MS);
      goto err;
    }
    if (nbd_verify (a->device, VERIFY_MS) == 0)
      return 0;
    if (interrupted ())
      goto err;
    if (tries > SOUND_TRIES) {
      log_error ("/dev/nbd%d is attached, but cannot be read", a->device);
      goto err;
    }
    log_warning (
        "/dev/nbd%d has a connection that does not answer; attaching again",
        a->device);
    /* A hanging request may keep it busy forever: then take another one. */
    first = a->device;
    if (nbd_disconnect (a->device, LEAVE_MS) == -1) {
      if (!conf_is (c, CONF_NBD_DEVICE, "auto"))
        return -1;
      first++;
    }
    if (nbd_find_free (first) == -1)
      first = 0;
    a->connections = tries == SOUND_TRIES ? 1 : conf_connections (c);
    a->timeout = conf_timeout (c);
    if (a->connections == 1 && conf_is (c, CONF_TIMEOUT, "auto"))
      a->timeout = 0;
  }

err:
  detach (a);
  return -1;
}

int
attach_device (const struct job_order *order, struct attachment *a)
{
  const struct conf *c = order->conf;
  char path[512];
  struct server s;

  *a = (struct attachment){ .device = -1 };
  if (!run_find ("nbd-client", path, sizeof path)) {
    log_error ("nbd-client is not installed");
    return -1;
  }
  if (nbd_load () == -1 || wait_for_server (c, order->server, &s) == -1)
    return -1;
  log_info ("server: %s%s%s", human (s.size), s.description[0] ? ", " : "",
            s.description);
  a->connections = conf_connections (c);
  a->timeout = conf_timeout (c);
  if (a->connections > 1 && !s.multi_conn) {
    log_warning ("the server accepts one connection at a time, not %u",
                 a->connections);
    a->connections = 1;
    a->timeout = conf_is (c, CONF_TIMEOUT, "auto") ? 0 : a->timeout;
  }
  if (interrupted () || attach_sound (c, a) == -1)
    return -1;
  a->size = s.size;
  if (!job_tell_attachment (a)) {
    log_error ("cannot record the device in the state file; detaching it");
    detach (a);
    return -1;
  }
  log_info ("attached: /dev/nbd%d, %u connection%s", a->device, a->connections,
            a->connections == 1 ? "" : "s");
  return 0;
}

int
job_up (const void *arg)
{
  const struct job_order *order = arg;
  const int priority = conf_number (order->conf, CONF_PRIORITY);
  struct attachment a;
  char device[32];

  if (attach_device (order, &a) == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  snprintf (device, sizeof device, "/dev/nbd%d", a.device);
  if (swap_format (device) == -1 || interrupted () ||
      swap_on (device, priority, conf_text (order->conf, CONF_DISCARD)) ==
          -1) {
    detach (&a);
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  }
  log_info ("swap is on: %s, %s, priority %d", device, human (a.size),
            priority);
  return EXIT_OK;
}
