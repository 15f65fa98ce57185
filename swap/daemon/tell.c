/* nbdkit-vram: what the daemon tells its clients and systemd
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>

#include "daemon.h"
#include "msg.h"

void
tell_add_state (struct json *j, const struct daemon *d)
{
  const struct runstate *st = &d->st;

  json_add_string (j, "state", state_name (st->state));
  json_add_string (j, "cause", cause_name (st->cause));
  json_add_text (j, "reason", st->reason);
}

void
tell_end (struct daemon *d, int status)
{
  for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
    if (d->control.client[i].waits) {
      d->control.client[i].waits = false;
      control_answer (&d->control.client[i], status, NULL);
      if (d->control.client[i].leaves)
        control_drop (&d->control.client[i]);
    }
  d->asked = NULL;
}

void
tell_state (struct daemon *d)
{
  char line[300];
  struct json j;

  json_begin (&j);
  json_add_string (&j, "event", "state");
  tell_add_state (&j, d);
  control_tell_all (&d->control, &j);
  snprintf (line, sizeof line, "%sSTATUS=%s%s%s",
            d->st.state == STATE_ENDED ? "STOPPING=1\n" : "",
            state_name (d->st.state), d->st.reason[0] ? ": " : "",
            d->st.reason);
  supervisor_notify (&d->server, line);
}

void
tell_message (struct daemon *d, enum log_level level, const char *line)
{
  struct json j;

  json_begin (&j);
  json_add_string (&j, "event", "message");
  json_add_string (&j, "severity", log_level_name (level));
  json_add_string (&j, "text", line);
  control_tell_all (&d->control, &j);
}

void
tell_progress (struct daemon *d, const struct job_packet *p)
{
  struct json j;

  json_begin (&j);
  json_add_string (&j, "event", "progress");
  json_add_string (&j, "what", p->u.progress.what);
  json_add_number (&j, "total", p->u.progress.total);
  json_add_number (&j, "left", p->u.progress.left);
  control_tell_all (&d->control, &j);
}
