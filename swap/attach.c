/* nbdkit-vram: a server and an nbd device that is attached to it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "capacity.h"
#include "life.h"
#include "msg.h"
#include "nbd-device.h"
#include "root.h"
#include "run.h"
#include "service.h"

#define AUTO_TRIES  16   /* other programs may take free devices as we do */
#define SOUND_TRIES 3    /* with several connections, before one must do */
#define VERIFY_MS   5000 /* for a read that takes less than one */

/* Remembers whose attachment the device is going to be. */
static int
remember (pid_t pid, void *opaque)
{
  struct state *st = opaque;

  st->attach_pid = pid;
  return state_write (st);
}

static int
forget (struct state *st)
{
  st->device = -1;
  st->attach_pid = 0;
  st->since = st->empty_since = 0;
  return state_write (st);
}

static int
attach_one (const struct conf *c, struct state *st, unsigned n, char *why,
            size_t size)
{
  struct nbd_attach a = {
    .socket = conf_text (c, CONF_SOCKET),
    .connections = st->connections,
    .timeout = st->timeout,
    .started = remember,
    .opaque = st,
  };

  st->device = n;
  return nbd_attach (n, &a, why, size);
}

static int
attach_some (const struct conf *c, struct state *st)
{
  bool any = conf_is (c, CONF_NBD_DEVICE, "auto");
  char why[512];
  pid_t pid;
  int n = 0;

  if (!any)
    n = atoi (conf_text (c, CONF_NBD_DEVICE) + 8);
  for (unsigned tries = 0; tries < AUTO_TRIES; tries++, n++) {
    if (any)
      n = nbd_find_free (n);
    if (n == -1) {
      error ("every nbd device is taken; more of them: modprobe -r nbd and "
             "modprobe nbd nbds_max=N");
      return -1;
    }
    if (!file_exists (root_path ("/sys/block/nbd%d", n))) {
      error ("there is no /dev/nbd%d", n);
      return -1;
    }
    if (!any && nbd_attached (n)) {
      error ("/dev/nbd%d is in use by another client", n);
      return -1;
    }
    if (attach_one (c, st, n, why, sizeof why) == 0)
      return 0;
    if (interrupted ())
      break;
    /* Lost the race for it to somebody else? */
    if (any && nbd_attached_by (n, &pid) && pid != st->attach_pid)
      continue;
    error ("cannot attach /dev/nbd%d: %s", n, why);
    break;
  }
  finish_undisturbed ();
  attach_clean (st);
  return -1;
}

/* Attaches, and again when a connection turns out to be deaf; the last try is
 * with a single one, which cannot be.
 */
static int
attach_sound (const struct conf *c, struct state *st)
{
  for (unsigned tries = 1;; tries++) {
    if (attach_some (c, st) == -1)
      return -1;
    if (nbd_verify (st->device, VERIFY_MS) == 0)
      return 0;
    if (interrupted () || tries > SOUND_TRIES) {
      if (!interrupted ())
        error ("/dev/nbd%d is attached, but cannot be read", st->device);
      finish_undisturbed ();
      attach_clean (st);
      return -1;
    }
    warning ("/dev/nbd%d has a connection that does not answer; attaching "
             "anew",
             st->device);
    if (attach_clean (st) == -1)
      return -1;
    if (tries == SOUND_TRIES) {
      st->connections = 1;
      st->timeout = conf_is (c, CONF_TIMEOUT, "auto") ? 0 : st->timeout;
    }
  }
}

int
attach_clean (struct state *st)
{
  int n = state_device (st);

  if (n >= 0 && nbd_detach (n) == -1)
    return -1;
  return st->device >= 0 ? forget (st) : 0;
}

int
attach_up (const struct conf *c, struct state *st, struct attachment *a)
{
  char path[512];

  *a = (struct attachment){ .device = -1 };
  if (!run_find ("nbd-client", path, sizeof path)) {
    error ("nbd-client is not installed");
    return -1;
  }
  if (attach_clean (st) == -1 || nbd_load () == -1)
    return -1;
  if (service_start (c, st, &a->server, &a->started) == -1)
    return -1;
  note ("server on %s: %s%s%s", conf_text (c, CONF_SOCKET),
        human (a->server.size), a->server.description[0] ? ", " : "",
        a->server.description);

  st->connections = conf_connections (c);
  st->timeout = conf_timeout (c);
  if (st->connections > 1 && !a->server.multi_conn) {
    warning ("the server takes one connection at a time: not %u",
             st->connections);
    st->connections = 1;
    st->timeout = conf_is (c, CONF_TIMEOUT, "auto") ? 0 : st->timeout;
  }
  if (interrupted () || attach_sound (c, st) == -1)
    goto err;

  a->device = st->device;
  snprintf (a->path, sizeof a->path, "/dev/nbd%d", a->device);
  note ("attached: %s, %u connection%s", a->path, st->connections,
        st->connections == 1 ? "" : "s");
  return 0;

err:
  finish_undisturbed ();
  /* A server that still has a client does not end. */
  if (attach_clean (st) == 0 && a->started)
    service_stop (st);
  return -1;
}

int
attach_for_test (const struct conf *c, struct state *st, struct attachment *a)
{
  bool on;

  if (!swap_is_on (st, &on, NULL))
    return -1;
  if (on) {
    error ("swap is on, and this would overwrite it: 'vram-swap down' first");
    return -1;
  }
  return attach_up (c, st, a);
}

int
attach_down (struct state *st, const struct attachment *a)
{
  if (attach_clean (st) == -1)
    return -1;
  return a->started ? service_stop (st) : 0;
}
