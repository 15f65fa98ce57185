/* nbdkit-vram: work of the daemon that may block, in a child of its own
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * modprobe, mkswap, swapon, swapoff and nbd-client may take minutes, or hang
 * in the kernel forever.  So the daemon never calls them.  A job that hangs
 * keeps nothing but itself: neither a lock nor a descriptor, and the daemon
 * says what it hangs in.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/memlock.h"
#include "job.h"
#include "msg.h"
#include "root.h"
#include "run.h"
#include "runstate.h"

#define JOB_FD   3
#define JOB_LOCK RUN_FOLDER "/job.lock"

/* In the child; -1 in the daemon. */
static int to_daemon = -1;

static void
tell (const struct job_packet *packet, size_t size)
{
  /* If the daemon has died, no process reads this. */
  if (to_daemon != -1)
    while (send (to_daemon, packet, size, MSG_NOSIGNAL) == -1 &&
           errno == EINTR)
      ;
}

static void
tell_message (enum log_level level, const char *format, va_list args)
{
  const int saved = errno;
  struct job_packet packet = { .type = JOB_MESSAGE, .level = level };

  vsnprintf (packet.u.text, sizeof packet.u.text, format, args);
  tell (&packet, sizeof packet);
  errno = saved;
}

static int
open_lock (void)
{
  return open (root_path (JOB_LOCK), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static void __attribute__ ((noreturn))
be_job (int fd, int (*work) (const void *arg), const void *arg)
{
  sigset_t none;

  memlock_undo ();
  setpgid (0, 0);
  if (dup2 (fd, JOB_FD) == -1)
    _exit (EXIT_FAILED);
  closefrom (JOB_FD + 1);
  fcntl (JOB_FD, F_SETFD, FD_CLOEXEC);
  to_daemon = JOB_FD;
  log_to = tell_message;
  catch_signals ();
  /* Without a daemon to tell, the job undoes what it has done. */
  prctl (PR_SET_PDEATHSIG, SIGTERM);
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  flock (open_lock (), LOCK_SH);
  _exit (work (arg));
}

void
job_await_orphans (unsigned ms)
{
  const long long deadline = now_ms () + ms;
  const int fd = open_lock ();

  while (fd != -1 && flock (fd, LOCK_EX | LOCK_NB) == -1 &&
         errno == EWOULDBLOCK) {
    if (now_ms () >= deadline) {
      log_warning ("a child of the previous daemon is stuck in the kernel; "
                   "if it stays so, reboot");
      break;
    }
    pause_ms (20);
  }
  if (fd != -1)
    close (fd);
}

int
job_start (struct job *job, int (*work) (const void *arg), const void *arg)
{
  int fds[2];

  *job = (struct job) JOB_NONE;
  if (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == -1) {
    log_error ("socketpair: %m");
    return -1;
  }
  job->pid = fork ();
  if (job->pid == 0)
    be_job (fds[1], work, arg);
  close (fds[1]);
  if (job->pid == -1) {
    log_error ("fork: %m");
    close (fds[0]);
    job->pid = 0;
    return -1;
  }
  job->socket = fds[0];
  return 0;
}

bool
job_receive (const struct job *job, struct job_packet *packet)
{
  ssize_t n;

  do
    n = recv (job->socket, packet, sizeof *packet, MSG_DONTWAIT);
  while (n == -1 && errno == EINTR);
  return n == sizeof *packet;
}

void
job_answer (const struct job *job, bool go_on)
{
  const char answer = go_on;

  send (job->socket, &answer, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
job_cancel (struct job *job)
{
  if (job->pid == 0 || job->cancelled)
    return;
  job->cancelled = true;
  job->cancelled_at = now_ms ();
  kill (job->pid, SIGTERM);
}

void
job_close (struct job *job)
{
  if (job->socket != -1)
    close (job->socket);
  *job = (struct job) JOB_NONE;
}

bool
job_tell_attachment (const struct attachment *a)
{
  struct job_packet packet = { .type = JOB_ATTACHMENT, .u.attachment = *a };
  char answer = 0;
  ssize_t n;

  tell (&packet, sizeof packet);
  do
    n = recv (to_daemon, &answer, 1, 0);
  while (n == -1 && errno == EINTR);
  return n == 1 && answer;
}

void
job_tell_progress (const char *what, int64_t total, int64_t left)
{
  struct job_packet packet = {
    .type = JOB_PROGRESS,
    .u.progress = { .total = total, .left = left },
  };

  snprintf (packet.u.progress.what, sizeof packet.u.progress.what, "%s", what);
  tell (&packet, sizeof packet);
}
