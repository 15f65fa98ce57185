/* nbdkit-vram: what the daemon does when an event moves it to another state
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "msg.h"
#include "nbd-device.h"
#include "pid1.h"
#include "root.h"
#include "run.h"
#include "spare.h"

#define DRAIN_AGAIN_MS 1000
#define RESUME_MS      60000
#define JOB_END_MS     30000
#define END_MS         60000 /* beyond gpu-timeout */

/* After a policy's drain was refused, doubled each time. */
#define REFUSED_MS (30 * 60 * 1000LL)

static struct swaps swaps;

/* For a later daemon whose configuration has errors. */
static void
keep_settings (const struct conf *c)
{
  const char *path = root_path (RUN_FOLDER "/settings");
  static char text[8192];
  size_t used = 0;

  for (unsigned k = 0; k < CONF_KEYS && used < sizeof text; k++)
    used += snprintf (text + used, sizeof text - used, "%s = %s\n",
                      conf_name (k), conf_text (c, k));
  if (write_text (path, text) == -1)
    log_warning ("%s: %m", path);
}

/* The check before a server is replaced, which is not going to be. */
static void
drop_check (struct daemon *d)
{
  kill (-d->job.pid, SIGKILL);
  kill (d->job.pid, SIGKILL);
  waitpid (d->job.pid, NULL, 0);
  job_close (&d->job);
}

void
daemon_run_job (struct daemon *d, int (*work) (const void *order))
{
  if (d->job.pid != 0)
    drop_check (d);
  /* A client that waits for a reload is answered when this job has ended. */
  if (work != job_check && d->replacing) {
    d->replacing = false;
    reload_end (d, EXIT_OK);
  }
  d->work = work;
  d->order.conf = d->conf;
  d->order.server = d->server.pid;
  d->order.attached = (struct attachment){
    .device = d->st.device,
    .attach_pid = d->st.attach_pid,
    .connections = d->st.connections,
    .timeout = d->st.timeout,
    .size = d->st.size,
  };
  d->job_status = EXIT_FAILED;
  if (job_start (&d->job, work, &d->order) == -1) {
    if (work == job_check) {
      d->replacing = false;
      reload_end (d, EXIT_FAILED);
      tell_end (d, EXIT_FAILED);
    }
    else
      daemon_handle (d, EVENT_JOB_FAILED);
    return;
  }
  daemon_watch (d, d->job.socket, EPOLLIN);
}

static void
start (struct daemon *d, int (*work) (const void *order))
{
  d->resumes = d->st.cause;
  d->st.cause = work == job_test ? CAUSE_REQUEST : CAUSE_NONE;
  d->st.reason[0] = '\0';
  d->job_status = EXIT_FAILED;
  watch_pressure (d, false);
  d->server.pause = 0;
  if (supervisor_start (&d->server) == -1) {
    daemon_handle (d, EVENT_JOB_FAILED);
    return;
  }
  daemon_watch (d, d->server.pidfd, EPOLLIN);
  if (d->server_only)
    return; /* until it is ready */
  pid1_keep_in_ram (d->st.init_swap_max, sizeof d->st.init_swap_max);
  daemon_run_job (d, work);
}

static void
enter_on (struct daemon *d)
{
  d->initial = false;
  d->resumes = CAUSE_NONE;
  d->st.since = now_ms ();
  d->st.outages = d->st.outage_last_ms = d->st.outage_longest_ms = 0;
  d->st.disk[0] = '\0';
  d->empty_since = 0;
  if (!d->server_only) {
    outage_link (d);
    d->link.swap_on = true;
    if (link_identify (&d->link))
      memcpy (d->st.disk, d->link.disk, sizeof d->st.disk);
    else
      log_warning ("cannot read back the swap header of /dev/nbd%d: the disk "
                   "of the next server is recognised by its size only",
                   d->st.device);
    outage_spare (d);
  }
  keep_settings (d->conf);
  tell_end (d, EXIT_OK);
}

static void
drain (struct daemon *d)
{
  if (d->st.cause == CAUSE_END) {
    /* At shutdown the other services end meanwhile and make room. */
    d->order.wait = true;
    d->order.wait_ms = -1;
  }
  if (d->st.cause == CAUSE_OTHERS && !d->st.reason[0])
    snprintf (d->st.reason, sizeof d->st.reason,
              "switched off by another program");
  if (d->server_only) {
    d->job_status = EXIT_OK;
    daemon_handle (d, EVENT_JOB_DONE);
    return;
  }
  daemon_run_job (d, job_down);
}

/* Switching off did not work. */
static void
stay_on (struct daemon *d)
{
  const enum cause cause = d->st.cause;

  d->st.cause = CAUSE_NONE;
  d->order.force = d->order.wait = false;
  if (cause == CAUSE_POWER || cause == CAUSE_IDLE) {
    d->not_before =
        now_ms () + (REFUSED_MS << (d->refusals < 4 ? d->refusals : 4));
    d->refusals++;
    d->empty_since = 0;
  }
  if (d->outage)
    d->st.state = STATE_OUTAGE;
  if (swaps_read (&swaps) == 0 && !nbd_find_swap (&swaps, d->st.device)) {
    d->st.state = STATE_FAILED;
    snprintf (d->st.reason, sizeof d->st.reason,
              "swap is off, but /dev/nbd%d is in use", d->st.device);
    spare_hold (0);
  }
  else
    outage_spare (d);
  tell_end (d, d->job_status);
  if (d->start_again) {
    log_error ("not started: the swap of an earlier version is still on; free "
               "memory and start again, or run 'swapoff /dev/nbd%d'",
               d->st.device);
    d->exits = true;
    d->exit_status = EXIT_FAILED;
  }
}

static void
end_server (struct daemon *d)
{
  pid1_restore (d->st.init_swap_max);
  d->st.init_swap_max[0] = '\0';
  outage_end (d);
  spare_hold (0);
  daemon_set_timer (d, TIMER_SERVER, -1);
  if (d->server.pid == 0) {
    supervisor_discard (&d->server);
    daemon_handle (d, EVENT_SERVER_ENDED);
    return;
  }
  supervisor_end (&d->server);
  daemon_set_timer (d, TIMER_END,
                    END_MS + conf_number (d->conf, CONF_GPU_TIMEOUT) * 1000);
}

/* Nothing of it is left. */
static void
settle (struct daemon *d)
{
  const bool failed = d->st.cause == CAUSE_NONE;
  int status =
      failed || d->st.cause == CAUSE_REQUEST ? d->job_status : EXIT_OK;

  daemon_set_timer (d, TIMER_END, -1);
  d->order.force = d->order.wait = false;
  d->st.device = -1;
  d->st.attach_pid = 0;
  d->refusals = 0;
  d->not_before = 0;
  if (d->start_again && failed) {
    d->start_again = false;
    daemon_handle (d, EVENT_UP);
    return;
  }
  /* The job is interrupted when the server dies. */
  if (failed && (status == EXIT_OK || status == EXIT_INTERRUPTED))
    status = EXIT_FAILED;
  if (failed && d->resumes != CAUSE_NONE && d->resumes < CAUSE_REQUEST) {
    /* A policy's start is tried again. */
    d->st.cause = CAUSE_POWER;
    daemon_set_timer (d, TIMER_POLICY, RESUME_MS);
    snprintf (d->st.reason, sizeof d->st.reason, "could not be switched on");
  }
  else if (failed) {
    d->st.cause = CAUSE_REQUEST;
    snprintf (d->st.reason, sizeof d->st.reason, "could not be switched on");
  }
  if (d->st.cause < CAUSE_REQUEST)
    d->st.state = STATE_PAUSED;
  if (d->st.cause == CAUSE_IDLE)
    watch_pressure (d, true);
  d->exits = d->st.cause == CAUSE_END || d->st.cause == CAUSE_OTHERS ||
             d->test || (failed && d->initial);
  if (d->exits) {
    d->st.state = STATE_ENDED;
    d->exit_status = status;
  }
  if (d->st.cause == CAUSE_OTHERS)
    log_error ("%s; the daemon exits", d->st.reason);
  tell_end (d, status);
}

static void
give_up (struct daemon *d)
{
  static const char lost[] =
      "the server's disk is lost, with the data swapped out to it";

  if (d->server_only) {
    d->st.state = STATE_ENDED;
    d->exits = true;
    d->exit_status = EXIT_FAILED;
    return;
  }
  spare_hold (0);
  snprintf (d->st.reason, sizeof d->st.reason, "%s", lost);
  log_error ("%s: the kernel kills the programs that need it; run 'vram-swap "
             "down' to switch swap off",
             lost);
  /* Whichever disk it is, it is there. */
  if (d->server.kept.ambiguous)
    return;
  outage_link (d);
  outage_fail (d);
}

/* All processes were told to end, and SIGKILL comes next. */
static void
hurry (struct daemon *d)
{
  if (d->server_only || d->st.device < 0)
    return;
  log_info ("told to end while swap is still on: its data is lost when the "
            "server is killed");
  outage_link (d);
  /* These limits stay. */
  d->short_limit = false;
  if (d->outage)
    outage_fail (d);
  else if (link_expect_end (&d->link, &d->nl) == -1)
    log_warning ("/dev/nbd%d: cannot have requests fail without a server: %m",
                 d->st.device);
}

static void
act (struct daemon *d, enum action action)
{
  switch (action) {
  case ACTION_NONE:
  case ACTION_REFUSE:
  case ACTION_GRANT:
    break;
  case ACTION_START:
    start (d, job_up);
    break;
  case ACTION_TEST:
    start (d, job_test);
    break;
  case ACTION_CANCEL:
    job_cancel (&d->job);
    daemon_set_timer (d, TIMER_JOB, JOB_END_MS);
    if (d->job.pid == 0 && d->st.state == STATE_STARTING)
      daemon_handle (d, EVENT_JOB_FAILED);
    break;
  case ACTION_ENTER_ON:
    enter_on (d);
    break;
  case ACTION_DRAIN:
    drain (d);
    break;
  case ACTION_STAY_ON:
    stay_on (d);
    break;
  case ACTION_DRAIN_LATER:
    daemon_set_timer (d, TIMER_DRAIN, DRAIN_AGAIN_MS);
    break;
  case ACTION_HURRY:
    hurry (d);
    break;
  case ACTION_END_SERVER:
    end_server (d);
    break;
  case ACTION_SETTLE:
    settle (d);
    break;
  case ACTION_RECOVER:
    outage_begin (d);
    break;
  case ACTION_RECOVERED:
    outage_end (d);
    break;
  case ACTION_GIVE_UP:
    give_up (d);
    break;
  case ACTION_WAKE:
    /* The cable may have been pulled meanwhile. */
    d->st.cause = CAUSE_POWER;
    daemon_handle (d, watch_policies (d));
    break;
  case ACTION_EXIT:
    d->exits = true;
    d->exit_status = EXIT_OK;
    break;
  }
}

enum action
daemon_handle (struct daemon *d, enum event event)
{
  const struct transition *t = states_find (d->st.state, d->st.cause, event);
  const enum cause cause = states_cause (event);
  const enum state before = d->st.state;
  const enum cause cause_before = d->st.cause;

  if (!t)
    return ACTION_NONE;
  if (t->action == ACTION_REFUSE)
    return ACTION_REFUSE;
  d->st.state = t->to;
  if (cause > d->st.cause && t->to != STATE_FAILED)
    d->st.cause = cause;
  act (d, t->action);
  if (d->st.state != before || d->st.cause != cause_before) {
    runstate_write (&d->st);
    tell_state (d);
  }
  /* They rest in every other state, and their timer with them. */
  if (d->st.state == STATE_ON && before != STATE_ON)
    daemon_handle (d, watch_policies (d));
  return t->action;
}
