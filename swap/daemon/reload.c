/* nbdkit-vram: the daemon takes new settings
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All of them or none: a server that dies after a reload that failed must find
 * the settings with which it was started.
 */

#include <config.h>

#include <string.h>

#include "daemon.h"
#include "jobs.h"
#include "msg.h"
#include "options.h"

/* Prints for each setting that has changed when it takes effect. */
static void
compare (const struct conf *old, const struct conf *new)
{
  static const char *const words[] = {
    [CONF_LIVE] = "takes effect now",
    [CONF_AT_UP] = "takes effect after 'vram-swap down' and 'vram-swap up'",
    [CONF_AT_NEW_SERVER] = "takes effect with the next server",
  };
  unsigned changes = 0;

  for (unsigned k = 0; k < CONF_KEYS; k++)
    if (strcmp (conf_text (old, k), conf_text (new, k)) != 0) {
      changes++;
      log_info ("%s: %s -> %s: %s", conf_name (k), conf_text (old, k),
                conf_text (new, k), words[conf_when (k)]);
    }
  if (changes == 0)
    log_info ("no setting has changed");
}

/* Puts CONF in force.  Returns 0, or -1 after a message if no server could be
 * started so.
 */
static int
use (struct daemon *d, const struct conf *conf)
{
  *d->conf = *conf;
  d->server.command = server_command (d->conf);
  d->server.socket = conf_text (d->conf, CONF_SOCKET);
  d->link.socket = d->server.socket;
  if (!d->server.command || folders_make_socket (d) == -1)
    return -1;
  folders_make_spill (d);
  if (state_has_swap (d->st.state)) {
    outage_spare (d);
    if (!d->server_only && d->st.device >= 0)
      outage_limits (d);
  }
  return 0;
}

/* What prevents a reload, or NULL. */
static const char *
find_obstacle (const struct daemon *d)
{
  if (d->replacing)
    return "another reload is under way; try again later";
  if (d->outage)
    return "swap has no server at present; try again later";
  if (d->job.pid != 0)
    return "swap is being switched on or off; try again later";
  return NULL;
}

int
reload_begin (struct daemon *d)
{
  const char *obstacle = find_obstacle (d);
  struct conf new;

  if (obstacle) {
    log_error ("not reloaded: %s", obstacle);
    return EXIT_FAILED;
  }
  if (options_load (&new, d->conf_file) == -1) {
    conf_free (&new);
    log_error ("not reloaded: the settings stay as they are");
    return EXIT_USAGE;
  }
  d->former = *d->conf;
  if (use (d, &new) == -1) {
    reload_end (d, EXIT_FAILED);
    return EXIT_FAILED;
  }
  compare (&d->former, d->conf);
  return EXIT_OK;
}

void
reload_end (struct daemon *d, int status)
{
  struct conf refused = *d->conf;

  if (status == EXIT_OK) {
    conf_free (&d->former);
    d->renews = true;
  }
  else {
    use (d, &d->former);
    conf_free (&refused);
    log_error ("not reloaded: the settings stay as they are");
  }
  d->former = (struct conf){ 0 };
}
