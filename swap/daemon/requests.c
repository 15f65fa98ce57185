/* nbdkit-vram: what commands ask of the daemon
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "disk/superblock.h"
#include "limit.h"
#include "msg.h"
#include "policy.h"
#include "run.h"
#include "spare.h"

/* Fields of the superblock that answers have unchanged. */
static const struct {
  const char *name;
  size_t at;
} elastic_fields[] = {
#define FIELD(name, field)                                                    \
  {                                                                           \
    name, offsetof (struct superblock_shared, field)                          \
  }
  FIELD ("held", vram_held),
  FIELD ("slots", vram_slots),
  FIELD ("spilled", spilled),
  FIELD ("spill_size", spill_size),
  FIELD ("given_back_trim", given_back[GIVE_BACK_TRIM]),
  FIELD ("given_back_headroom", given_back[GIVE_BACK_HEADROOM]),
  FIELD ("given_back_limit", given_back[GIVE_BACK_LIMIT]),
  FIELD ("moves_out", moves_out),
  FIELD ("moves_back", moves_back),
  FIELD ("give_back_us_max", give_back_us_max),
#undef FIELD
};

static void
add_elastic (struct json *j, const struct daemon *d,
             const struct superblock_shared *s)
{
  const int64_t limit = limit_now (d);

  if (atomic_load (&s->elastic) == ELASTIC_UNKNOWN) {
    json_add_null (j, "elastic");
    return;
  }
  json_add_object (j, "elastic");
  json_add_bool (j, "on", atomic_load (&s->elastic) == ELASTIC_YES);
  json_add_text (j, "reason", s->elastic_reason);
  json_add_text (j, "spill_reason", s->spill_reason);
  if (limit == LIMIT_CONFIGURED || limit == INT64_MAX)
    json_add_null (j, "limit");
  else
    json_add_number (j, "limit", limit);
  json_add_bool (j, "limit_configured", limit == LIMIT_CONFIGURED);
  json_add_bool (j, "limit_obeyed",
                 atomic_load (&s->limit) == atomic_load (&s->limit_obeyed));
  json_add_number (j, "least", descriptors_least (&d->server.kept));
  for (size_t i = 0; i < sizeof elastic_fields / sizeof elastic_fields[0]; i++)
    json_add_number (
        j, elastic_fields[i].name,
        atomic_load (
            (const _Atomic uint64_t *) (const void *) ((const char *) s +
                                                       elastic_fields[i].at)));
  json_close (j);
}

static void
add_server (struct json *j, const struct daemon *d)
{
  static const char *const paths[] = {
    [COPY_PATH_MAPPING] = "mapping",
    [COPY_PATH_DMA] = "dma",
  };
  const struct descriptors *kept = &d->server.kept;
  const struct superblock_shared *s = descriptors_shared (kept);
  uint64_t lost, path;

  json_add_object (j, "server");
  json_add_bool (j, "ready", d->server.pid > 0 && d->server.ready);
  if (d->server.pid > 0)
    json_add_number (j, "pid", d->server.pid);
  if (s) {
    lost = atomic_load (&s->lost);
    path = atomic_load (&s->copy_path);
    json_add_number (j, "generation", atomic_load (&s->generation));
    json_add_number (j, "size", descriptors_header (kept)->disk_size);
    json_add_number (j, "used", descriptors_used (kept));
    json_add_bool (j, "lost", lost != 0);
    json_add_number (j, "lost_ms", lost ? now_ms () - (int64_t) lost : 0);
    json_add_text (j, "copy_path", path <= COPY_PATH_DMA ? paths[path] : NULL);
    json_add_text (j, "copy_reason", s->copy_reason);
    json_add_text (j, "gpu", s->gpu_name);
    json_add_text (j, "pci", s->gpu_pci);
    add_elastic (j, d, s);
  }
  json_close (j);
}

static void
answer_status (const struct daemon *d, struct client *client)
{
  const struct runstate *st = &d->st;
  struct json j;

  json_begin (&j);
  json_add_bool (&j, "ok", true);
  tell_add_state (&j, d);
  json_add_number (&j, "daemon", getpid ());
  if (d->job.pid != 0) {
    json_add_number (&j, "job", d->job.pid);
    json_add_bool (&j, "job_hangs",
                   d->job.cancelled && d->timer[TIMER_JOB] == 0);
  }
  json_add_number (&j, "device", st->device);
  json_add_number (&j, "connections", st->connections);
  json_add_number (&j, "timeout", st->timeout);
  json_add_number (&j, "since_ms", st->since ? now_ms () - st->since : 0);
  json_add_number (&j, "outages", st->outages);
  json_add_number (&j, "outage_last_ms", st->outage_last_ms);
  json_add_number (&j, "outage_longest_ms", st->outage_longest_ms);
  json_add_number (&j, "outage_ago_ms",
                   st->outage_at ? now_ms () - st->outage_at : 0);
  json_add_number (&j, "outage_ms",
                   d->outage ? now_ms () - d->outage_began : 0);
  json_add_number (&j, "spare", spare_held ());
  json_add_number (&j, "spare_wanted", spare_wanted ());
  add_server (&j, d);
  control_send (client, &j);
}

/* The client has asked for EVENT, and waits until that is through. */
static void
ask (struct daemon *d, struct client *client, enum event event)
{
  char why[320];
  enum action action;

  client->waits = true;
  if (!d->asked)
    d->asked = client;
  action = daemon_handle (d, event);
  if (!client->waits)
    return; /* it was answered already */
  if (action == ACTION_GRANT) {
    client->waits = false;
    control_answer (client, EXIT_OK, NULL);
  }
  else if (action == ACTION_REFUSE) {
    client->waits = false;
    snprintf (why, sizeof why, "not possible in state '%s'%s%s; %s",
              state_name (d->st.state), d->st.reason[0] ? ": " : "",
              d->st.reason,
              event == EVENT_TEST || d->st.state == STATE_FAILED
                  ? "run 'vram-swap down' first"
                  : "try again later");
    control_answer (client, EXIT_FAILED, why);
  }
  if (!client->waits && d->asked == client)
    d->asked = NULL;
}

static void
request_stop (struct daemon *d, struct client *client,
              const struct json_t *request)
{
  int64_t seconds;

  d->order.force = json_flag (request, "force");
  d->order.wait = json_get_number (request, "wait", &seconds);
  d->order.wait_ms = d->order.wait && seconds >= 0 ? seconds * 1000 : -1;
  ask (d, client, EVENT_DOWN);
}

static void
request_sleep (struct daemon *d, struct client *client,
               const struct json_t *request)
{
  const char *action = json_text (request, "action"), *why = "";

  if (!action[0])
    action = "suspend";
  if (state_has_swap (d->st.state) && d->st.state != STATE_DRAINING &&
      !policy_sleep_drains (d->conf, action, &why)) {
    log_info ("sleep: swap stays on: %s", why);
    control_answer (client, EXIT_OK, NULL);
    return;
  }
  log_info ("sleep (%s): swap goes off%s%s", action, why[0] ? ": " : "", why);
  d->order.force = d->order.wait = false;
  ask (d, client, EVENT_SLEEP);
}

static void
request_test (struct daemon *d, struct client *client,
              const struct json_t *request)
{
  d->order.fill = json_flag (request, "fill");
  ask (d, client, EVENT_TEST);
}

static void
request_events (struct daemon *d, struct client *client,
                const struct json_t *request)
{
  struct json j;

  (void) request;
  client->listens = true;
  json_begin (&j);
  json_add_string (&j, "event", "state");
  tell_add_state (&j, d);
  control_send (client, &j);
}

static void
request_status (struct daemon *d, struct client *client,
                const struct json_t *request)
{
  (void) request;
  /* A server that is not ours does not tell when it loses its client. */
  daemon_handle (d, watch_device (d));
  answer_status (d, client);
}

static void
request_resume (struct daemon *d, struct client *client,
                const struct json_t *request)
{
  (void) request;
  ask (d, client, EVENT_UP);
}

static void
request_wake (struct daemon *d, struct client *client,
              const struct json_t *request)
{
  (void) request;
  /* Coming on again is not waited for: the machine has woken up. */
  daemon_handle (d, EVENT_WAKE);
  control_answer (client, EXIT_OK, NULL);
}

static void
request_look (struct daemon *d, struct client *client,
              const struct json_t *request)
{
  (void) request;
  d->not_before = 0;
  daemon_handle (d, watch_policies (d));
  control_answer (client, EXIT_OK, NULL);
}

static void
request_reload (struct daemon *d, struct client *client,
                const struct json_t *request)
{
  (void) request;
  requests_reload (d, client);
}

static const struct {
  const char *name;
  bool anybody; /* in the group */
  void (*serve) (struct daemon *d, struct client *client,
                 const struct json_t *request);
} requests[] = {
  { "status", true, request_status }, { "events", true, request_events },
  { "stop", false, request_stop },    { "resume", false, request_resume },
  { "sleep", false, request_sleep },  { "wake", false, request_wake },
  { "look", false, request_look },    { "reload", false, request_reload },
  { "test", false, request_test },    { "limit", true, limit_request },
};

static void
serve_one (struct daemon *d, struct client *client, const char *text, size_t n)
{
  struct json_t *request = json_read (text, n);
  const char *name = json_text (request, "request");
  bool known = false;

  if (client->waits) {
    json_free (request);
    control_answer (client, EXIT_FAILED,
                    "the last request is not answered yet");
    return;
  }
  for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
    if (strcmp (name, requests[i].name) == 0) {
      known = true;
      if (client->root || requests[i].anybody)
        requests[i].serve (d, client, request);
      else
        control_answer (client, EXIT_FAILED, "only root may do that");
    }
  if (!known)
    control_answer (client, EXIT_USAGE, "unknown request");
  json_free (request);
}

void
requests_serve (struct daemon *d, struct client *client)
{
  char *text;
  size_t n;

  if (!control_receive (client)) {
    const bool asked = d->asked == client;

    /* What it has asked for is not wanted any more. */
    if (asked) {
      d->asked = NULL;
      daemon_handle (d, EVENT_CANCEL);
    }
    /* It is answered when that has come to its end: what it asks for next does
     * not get that end for its own.
     */
    if (asked && client->waits && d->job.cancelled) {
      client->leaves = true;
      daemon_unwatch (d, client->fd);
    }
    else
      control_drop (client);
    return;
  }
  while (client->fd != -1 && (text = control_next_line (client, &n)) != NULL)
    serve_one (d, client, text, n);
}

/* Returns the exit status, or -1: the server is going to be replaced. */
static int
reload (struct daemon *d)
{
  const struct superblock_header *disk;
  const int status = reload_begin (d);

  if (status != EXIT_OK)
    return status;
  daemon_handle (d, watch_policies (d));
  disk = descriptors_header (&d->server.kept);
  if (d->st.state == STATE_ON && !d->server_only && disk) {
    /* Without a next server that can start, what is swapped out would be lost.
     */
    d->replacing = true;
    d->order.disk_version = disk->version;
    d->order.user = &d->server.user;
    daemon_run_job (d, job_check);
    return -1;
  }
  if (d->st.state == STATE_ON && !d->server_only)
    log_info ("not replacing the server: its disk would be lost");
  reload_end (d, EXIT_OK);
  return EXIT_OK;
}

void
requests_reload (struct daemon *d, struct client *client)
{
  int status;

  if (client)
    client->waits = true;
  status = reload (d);
  if (client && status != -1) {
    client->waits = false;
    control_answer (client, status, NULL);
  }
}
