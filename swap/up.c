/* nbdkit-vram: vram-swap up
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attach.h"
#include "capacity.h"
#include "life.h"
#include "msg.h"
#include "nbd-device.h"
#include "options.h"
#include "root.h"
#include "run.h"
#include "service.h"
#include "swaps.h"
#include "watcher.h"

/* The word with which somebody who cannot boot keeps us away. */
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

/* Is swap on already, on a device of ours? */
static int
already_up (const struct state *st, char *device, size_t size, bool *up)
{
  struct swaps s;
  int n = state_device (st);

  *up = false;
  if (n == -1)
    return 0;
  snprintf (device, size, "/dev/nbd%d", n);
  if (swaps_read (&s) == -1)
    return -1;
  *up = swaps_find (&s, device) != NULL;
  return 0;
}

/* What 'vram-swap reload' compares the configuration with. */
static void
keep_settings (const struct conf *c)
{
  const char *path = root_path (SETTINGS_IN_FORCE);
  char text[8192];
  FILE *fp = fmemopen (text, sizeof text, "w");

  if (!fp)
    return;
  for (unsigned k = 0; k < CONF_KEYS; k++)
    fprintf (fp, "%s = %s\n", conf_name (k), conf_text (c, k));
  if (fclose (fp) == EOF || write_text (path, text) == -1)
    warning ("%s: %m", path);
}

int
take_up (const struct options *o, struct state *st)
{
  struct attachment a;
  char device[32];
  bool up;

  if (already_up (st, device, sizeof device, &up) == -1)
    goto err;
  if (up) {
    note ("swap is on already, on %s", device);
    return EXIT_OK;
  }
  if (o->conf_wrong) {
    error ("not switching on before the configuration has been mended");
    return EXIT_USAGE;
  }
  if (attach_up (&o->conf, st, &a) == -1)
    goto err;
  nbd_hold (a.device, st->connections, st->timeout,
            conf_number (&o->conf, CONF_OUTAGE_TIMEOUT));
  if (watcher_start (o, st) == -1 || swap_format (a.path) == -1 ||
      interrupted ())
    goto err_attached;
  if (swap_on (a.path, conf_number (&o->conf, CONF_PRIORITY),
               conf_text (&o->conf, CONF_DISCARD)) == -1)
    goto err_attached;
  /* From here on it is up: a signal that came too late changes nothing. */
  finish_undisturbed ();
  st->since = now_ms ();
  st->empty_since = 0;
  st->paused = PAUSED_NO;
  st->awake = false;
  state_write (st);
  keep_settings (&o->conf);
  note ("swap is on: %s, %s, priority %lld", a.path, human (a.server.size),
        (long long) conf_number (&o->conf, CONF_PRIORITY));
  return EXIT_OK;

err_attached:
  finish_undisturbed ();
  watcher_stop (st);
  attach_down (st, &a);
err:
  if (!was_interrupted ())
    return EXIT_FAILED;
  error ("interrupted; everything is as it was before");
  return EXIT_INTERRUPTED;
}

int
cmd_up (struct options *o)
{
  struct state st;
  int status, lock;

  if (forbidden_at_boot () && !o->force) {
    error ("the kernel's command line says novramswap (--force overrides)");
    return EXIT_FAILED;
  }
  lock = service_lock (&o->conf, 10);
  if (lock == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  state_read (&st);
  status = take_up (o, &st);
  close (lock);
  return status;
}
