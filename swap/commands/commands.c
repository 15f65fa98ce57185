/* nbdkit-vram: the commands that ask the daemon for something
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "msg.h"
#include "nbd-device.h"
#include "options.h"
#include "policy.h"
#include "root.h"
#include "runstate.h"

static void
begin (struct json *j, const char *request)
{
  json_begin (j);
  json_add_string (j, "request", request);
}

static int
no_daemon (const char *request)
{
  if (errno == EACCES || errno == EPERM)
    log_error ("only root may do that");
  else if (strcmp (request, "reload") == 0)
    log_error ("the daemon is not running; it reads the settings when it "
               "starts");
  else
    log_error ("the daemon is not running; run 'systemctl start vram-swap' "
               "(without systemd: 'vram-swap daemon') to switch swap on");
  return EXIT_FAILED;
}

static int
ask (const char *request)
{
  struct json j;
  int status;

  begin (&j, request);
  status = client_ask (&j);
  return status == -1 ? no_daemon (request) : status;
}

int
cmd_up (struct options *o)
{
  (void) o;
  return ask ("resume");
}

int
cmd_reload (struct options *o)
{
  (void) o;
  return ask ("reload");
}

/* Without a daemon: is our device still attached? */
static int
nothing_on (void)
{
  struct runstate st;

  runstate_read (&st);
  if (runstate_device (&st) == -1 && !runstate_find_device (&st, 0)) {
    log_info ("swap is not on");
    return EXIT_OK;
  }
  log_error (
      "/dev/nbd%d is attached, but the daemon is not running; run 'systemctl "
      "start vram-swap' to take it over, or 'swapoff /dev/nbd%d' to empty it",
      st.device, st.device);
  return EXIT_FAILED;
}

int
cmd_down (struct options *o)
{
  struct json j;
  int status;

  begin (&j, "stop");
  json_add_bool (&j, "force", o->force);
  if (o->wait)
    json_add_number (&j, "wait", o->wait_ms < 0 ? -1 : o->wait_ms / 1000);
  status = client_ask (&j);
  if (status != -1)
    return status;
  if (errno == EACCES || errno == EPERM)
    return no_daemon ("stop");
  return nothing_on ();
}

int
cmd_test (struct options *o)
{
  struct json j;
  int status;

  begin (&j, "test");
  json_add_bool (&j, "fill", o->fill);
  status = client_ask (&j);
  if (status != -1)
    return status;
  if (geteuid () != 0) {
    log_error ("only root may do that");
    return EXIT_FAILED;
  }
  o->test = true;
  return cmd_daemon (o);
}

/* A look at power and idleness, for a system without the kernel's uevents. */
int
cmd_look (struct options *o)
{
  struct json j;
  int status;

  (void) o;
  begin (&j, "look");
  status = client_ask (&j);
  return status == -1 ? EXIT_OK : status;
}

/* sleep pre|post [ACTION]: ACTION as systemd has it, such as hibernate. */
int
cmd_sleep (struct options *o)
{
  const bool pre = o->argc > 0 && strcmp (o->argv[0], "pre") == 0;
  const char *action = o->argc > 1 ? o->argv[1] : "suspend";
  struct json j;
  int status;

  if (!pre && (o->argc == 0 || strcmp (o->argv[0], "post") != 0)) {
    log_error ("usage: vram-swap sleep pre|post [ACTION]");
    return EXIT_USAGE;
  }
  begin (&j, pre ? "sleep" : "wake");
  if (pre)
    json_add_string (&j, "action", action);
  status = client_ask (&j);
  /* Without a daemon nothing is swapped to VRAM. */
  if (status == -1)
    return EXIT_OK;
  if (status == EXIT_OK || !pre)
    return status;
  if (policy_hibernates (action)) {
    log_error ("not hibernating, because the kernel could swap to VRAM then");
    return status;
  }
  if (conf_is (&o->conf, CONF_SLEEP_WHEN_FULL, "keep")) {
    log_warning ("sleeping with swap on (sleep-when-full=keep)");
    return EXIT_OK;
  }
  log_error (
      "not sleeping, because VRAM may not survive it (sleep-when-full)");
  return status;
}
