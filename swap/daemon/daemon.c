/* nbdkit-vram: vram-swap daemon, which owns the life of the swap
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One process, whose main thread waits for events: its child, its jobs, its
 * socket, signals, the kernel.  What they do is in states.c.  The only other
 * thread is spare.c's.  At rest neither is woken up, except that the latter
 * looks for free RAM until all spare memory is held.
 *
 * All of it is in RAM, and while swap does not answer it needs nothing but the
 * server: jobs do everything that could block (job.h).
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/memlock.h"
#include "daemon.h"
#include "limit.h"
#include "msg.h"
#include "root.h"
#include "run.h"

static struct daemon the_daemon;
static char **the_argv;

/* Messages go to the log and to the clients that listen. */
static void
log_line (enum log_level level, const char *line)
{
  if (level != LOG_LEVEL_INFO || !quiet)
    msg_to_stderr (level, line);
  tell_message (&the_daemon, level, line);
}

static void
log_own (enum log_level level, const char *format, va_list args)
{
  const int saved = errno;
  char line[900];

  vsnprintf (line, sizeof line, format, args);
  log_line (level, line);
  errno = saved;
}

/* --- Events --- */

static void
take_attachment (struct daemon *d, const struct attachment *a)
{
  const bool was_attached = d->st.device >= 0;

  d->st.device = a->device;
  d->st.attach_pid = a->attach_pid;
  d->st.connections = a->connections;
  d->st.timeout = a->timeout;
  d->st.size = a->size;
  job_answer (&d->job, runstate_write (&d->st) == 0);
  /* The driver has been loaded by now. */
  if (!was_attached && d->nl.fd == -1 && a->device >= 0 &&
      nbd_netlink_open (&d->nl, true) == 0)
    daemon_watch (d, d->nl.fd, EPOLLIN);
}

static void
take_packets (struct daemon *d)
{
  static struct job_packet packet;

  while (d->job.socket != -1 && job_receive (&d->job, &packet))
    switch (packet.type) {
    case JOB_MESSAGE:
      log_line (packet.level, packet.u.text);
      break;
    case JOB_PROGRESS:
      tell_progress (d, &packet);
      break;
    case JOB_ATTACHMENT:
      take_attachment (d, &packet.u.attachment);
      break;
    }
}

static void
job_has_ended (struct daemon *d, int status)
{
  take_packets (d);
  job_close (&d->job);
  daemon_set_timer (d, TIMER_JOB, -1);
  d->job_status = WIFEXITED (status) ? WEXITSTATUS (status) : EXIT_FAILED;
  if (d->work == job_check) {
    reload_end (d, d->job_status);
    if (d->job_status == EXIT_OK) {
      log_info ("the next server takes over the disk");
      outage_replace (d);
      return;
    }
    d->replacing = false;
    tell_end (d, d->job_status);
    daemon_handle (d, watch_policies (d));
    return;
  }
  daemon_handle (d, d->job_status == EXIT_OK        ? EVENT_JOB_DONE
                    : d->job_status == EXIT_REFUSED ? EVENT_JOB_REFUSED
                                                    : EVENT_JOB_FAILED);
}

/* Whether systemd has become the program that ends all processes. */
static bool
at_shutdown (void)
{
  char name[32];

  return read_text (root_path ("/proc/1/comm"), name, sizeof name) > 0 &&
         strncmp (name, "systemd-shutdow", 15) == 0;
}

static void
take_signals (struct daemon *d)
{
  struct signalfd_siginfo info;
  int status;

  while (read (d->signals, &info, sizeof info) == sizeof info)
    switch (info.ssi_signo) {
    case SIGTERM:
    case SIGINT:
      daemon_handle (d, EVENT_END);
      /* With 'systemctl poweroff --force' the first one is the last. */
      if (at_shutdown () && d->st.state == STATE_DRAINING)
        daemon_handle (d, EVENT_END);
      break;
    case SIGHUP:
      requests_reload (d, NULL);
      break;
    default:
      break;
    }
  if (d->job.pid > 0 && waitpid (d->job.pid, &status, WNOHANG) == d->job.pid)
    job_has_ended (d, status);
}

static void
server_is_ready (struct daemon *d)
{
  char line[320];

  if (d->server_only) {
    snprintf (line, sizeof line, "READY=1\nSTATUS=%s", d->server.status);
    supervisor_notify (&d->server, line);
    daemon_handle (d, d->st.state == STATE_STARTING ? EVENT_JOB_DONE
                                                    : EVENT_CONNECTED);
  }
  else if (d->outage)
    daemon_handle (d, outage_connect (d));
}

static void
server_has_ended (struct daemon *d)
{
  const bool ending = d->server.ending;
  const bool kept = supervisor_ended (&d->server);

  daemon_set_timer (d, TIMER_REPLACE, -1);
  if (!ending && d->st.state == STATE_STARTING)
    log_error ("the server ended before swap was on; see its log (journalctl "
               "-u vram-swap)");
  if (ending)
    daemon_handle (d, EVENT_SERVER_ENDED);
  else
    daemon_handle (d, kept ? EVENT_SERVER_DIED : EVENT_DISK_LOST);
}

static void
take_uevents (struct daemon *d)
{
  bool power, device;

  watch_uevents (d, &power, &device);
  if (device)
    daemon_handle (d, watch_device (d));
  if (power) {
    d->not_before = 0;
    daemon_handle (d, watch_policies (d));
  }
}

static void
take_event (struct daemon *d, int fd)
{
  if (fd == d->signals)
    take_signals (d);
  else if (fd == d->server.listening) {
    if (supervisor_listen (&d->server))
      server_is_ready (d);
    if (d->server.lost_client) {
      /* No other message comes when another program detaches the device. */
      d->server.lost_client = false;
      daemon_handle (d, watch_device (d));
    }
  }
  else if (fd == d->server.pidfd)
    server_has_ended (d);
  else if (fd == d->job.socket)
    take_packets (d);
  else if (fd == d->nl.fd) {
    if (d->st.device >= 0 && nbd_netlink_lost (&d->nl, d->st.device) &&
        !d->outage && state_has_swap (d->st.state) && d->server.ready)
      daemon_handle (d, outage_connect (d));
  }
  else if (fd == d->swaps)
    daemon_handle (d, watch_swaps (d));
  else if (fd == d->uevents)
    take_uevents (d);
  else if (fd == d->pressure)
    daemon_handle (d, watch_policies (d));
  else if (fd == d->control.fd) {
    const struct client *client = control_accept (&d->control);

    if (client)
      daemon_watch (d, client->fd, EPOLLIN);
  }
  else
    for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
      if (d->control.client[i].fd == fd)
        requests_serve (d, &d->control.client[i]);
}

/* --- Timers --- */

/* A job was told to end, and has not: it hangs in the kernel. */
static void
job_hangs (struct daemon *d)
{
  if (d->job.pid == 0)
    return;
  log_warning ("process %ld is stuck in the kernel (modprobe, nbd-client, "
               "mkswap or swapoff); if it stays so, reboot",
               (long) d->job.pid);
  if (d->st.state != STATE_STARTING)
    return;
  /* Swap is not on: the device is left alone, and so is the process. */
  d->st.device = -1;
  job_close (&d->job);
  daemon_handle (d, EVENT_JOB_FAILED);
}

static void
server_does_not_end (struct daemon *d)
{
  if (d->server.pid == 0 || !d->server.ending)
    return;
  log_error ("the server, process %ld, does not end; killing it without "
             "overwriting its memory",
             (long) d->server.pid);
  supervisor_replace (&d->server);
}

static void
take_timer (struct daemon *d, enum timer timer)
{
  switch (timer) {
  case TIMER_SERVER:
    if (d->server.pid == 0)
      outage_start_server (d);
    break;
  case TIMER_REPLACE:
    outage_replace_now (d);
    break;
  case TIMER_CONNECT:
    daemon_handle (d, outage_connect (d));
    break;
  case TIMER_COMPLAIN:
    outage_complain (d);
    break;
  case TIMER_PATIENCE:
    outage_is_over (d);
    break;
  case TIMER_FAIL:
    link_fail_end (&d->link);
    break;
  case TIMER_JOB:
    job_hangs (d);
    break;
  case TIMER_END:
    server_does_not_end (d);
    break;
  case TIMER_DRAIN:
    daemon_handle (d, EVENT_RETRY);
    break;
  case TIMER_POLICY:
    daemon_handle (d, watch_policies (d));
    break;
  case TIMERS:
    break;
  }
}

static void
run_timers (struct daemon *d)
{
  const long long now = now_ms ();

  for (unsigned i = 0; i < TIMERS; i++)
    if (d->timer[i] != 0 && d->timer[i] <= now) {
      d->timer[i] = 0;
      take_timer (d, i);
    }
}

static int
loop (struct daemon *d)
{
  enum state told = STATE_STARTING;

  while (!d->exits) {
    struct epoll_event events[16];
    int n;

    /* systemd waits for the end of the start, in whichever state. */
    if (!d->initial && told == STATE_STARTING) {
      told = d->st.state;
      if (!d->server_only)
        supervisor_notify (&d->server, "READY=1");
    }
    n = epoll_wait (d->epoll, events, 16, daemon_next_timer (d));
    if (n == -1 && errno != EINTR) {
      log_error ("epoll: %m");
      return EXIT_NEXT;
    }
    for (int i = 0; i < n; i++)
      take_event (d, events[i].data.fd);
    run_timers (d);
    limit_apply (d);
    if (d->renews && d->job.pid == 0 && !d->outage && !d->replacing &&
        d->timer[TIMER_CONNECT] == 0) {
      d->renews = false;
      daemon_renew (d, the_argv);
    }
  }
  return d->exit_status;
}

/* --- Start --- */

/* Only one daemon at a time. */
static int
lock (void)
{
  const char *path = root_path (RUN_FOLDER "/lock");
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  if (fd != -1 && flock (fd, LOCK_EX | LOCK_NB) == 0)
    return 0;
  if (fd != -1 && errno == EWOULDBLOCK)
    log_error ("vram-swap daemon is already running");
  else
    log_error ("%s: %m", path);
  return -1;
}

static void
block_signals (struct daemon *d)
{
  sigset_t set;

  sigemptyset (&set);
  sigaddset (&set, SIGCHLD);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGINT);
  sigaddset (&set, SIGHUP);
  signal (SIGPIPE, SIG_IGN);
  sigprocmask (SIG_BLOCK, &set, &d->server.mask);
  d->signals = signalfd (-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  daemon_watch (d, d->signals, EPOLLIN);
}

static int
prepare (struct daemon *d, struct options *o)
{
  static char program[512];
  const char *folder = root_path (RUN_FOLDER);

  d->conf = &o->conf;
  d->conf_file = o->conf_file;
  d->server_only = o->server_only;
  d->test = o->test;
  d->fill = o->fill;
  d->pressure = d->swaps = d->uevents = d->nl.fd = -1;
  d->job = (struct job) JOB_NONE;
  d->server.socket = conf_text (d->conf, CONF_SOCKET);
  d->server.command = server_command (d->conf);
  d->server.program = run_find ("nbdkit", program, sizeof program);
  if (!d->server.command)
    return -1;
  if (!d->server.program) {
    log_error ("nbdkit is not installed");
    return -1;
  }
  if (mkdir (folder, 0755) == -1 && errno != EEXIST) {
    log_error ("%s: %m", folder);
    return -1;
  }
  if (unprivileged_find (&d->server.user, o->user ? o->user : SERVER_USER) ==
          -1 ||
      lock () == -1 || folders_make_socket (d) == -1)
    return -1;
  folders_make_spill (d);
  d->epoll = epoll_create1 (EPOLL_CLOEXEC);
  if (d->epoll == -1) {
    log_error ("epoll: %m");
    return -1;
  }
  json_use_arena ();
  memlock_process ();
  block_signals (d);
  if (supervisor_open (&d->server) == -1 ||
      control_open (&d->control, d->server.user.gid) == -1)
    return -1;
  daemon_watch (d, d->server.listening, EPOLLIN);
  daemon_watch (d, d->control.fd, EPOLLIN);
  log_to = log_own;
  if (!d->server_only)
    watch_open (d);
  return 0;
}

/* Leaves the state file, which says why swap is off. */
static void
clean_up (const struct daemon *d)
{
  unlink (root_path (CONTROL_SOCKET));
  unlink (d->server.address);
  unlink (root_path (RUN_FOLDER "/job.lock"));
  /* The device is the earlier version's. */
  if (d->start_again)
    unlink (root_path (RUN_FOLDER "/state"));
  if (d->st.state == STATE_ENDED)
    unlink (root_path (RUN_FOLDER "/settings"));
}

int
cmd_daemon (struct options *o)
{
  struct daemon *d = &the_daemon;
  int status;

  if (prepare (d, o) == -1)
    return EXIT_FAILED;
  the_argv = o->own_argv;
  daemon_take_over (d);
  runstate_write (&d->st);
  status = loop (d);
  if (d->st.state == STATE_ENDED)
    runstate_write (&d->st);
  clean_up (d);
  return status;
}
