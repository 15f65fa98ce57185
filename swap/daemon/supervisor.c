/* nbdkit-vram: runs the server, and keeps its disk between two servers
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The server hands out descriptors by which its disk, VRAM and all, outlives
 * it (nbdkit-vram-plugin(1)).  systemd could keep them and start the next
 * server, but while swap does not answer, systemd may itself wait for a page
 * of its own that is swapped out.  So the daemon is the service manager of its
 * server: it keeps the descriptors, starts the next server, and opens no file
 * for that but those of the server.  What it is told it also passes on to
 * systemd, which has it in case this process dies, too.
 *
 * - The server is killed, crashes, or fails: the next one takes the disk over.
 *   If that one fails as well, another is started, later and later, for as
 * long as it takes: a disk that cannot be taken over now is not given up.
 * - The server is told to end by us: it gives the disk up first.
 * - Another process tells the server to end: the usual signals for that are
 *   blocked in it, as nbdkit would fail requests then.  By any other it leaves
 *   its disk (enum superblock_supervisor), and the next one takes it over.
 * - This process dies: the server continues.  The next daemon finds it, and
 *   gets the descriptors from systemd.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "msg.h"
#include "notify.h"
#include "root.h"
#include "runstate.h"
#include "supervisor.h"

/* Tells the server to end.  The other signals that end nbdkit are blocked.
 */
#define END_SIGNAL SIGQUIT

#define SERVER_LOCK RUN_FOLDER "/server.lock"

/* Taken from the socket at once, at most; the largest disk needs fewer. */
#define MAX_NOTICES (2 * DESCRIPTORS_MAX)

/* After a server that was never ready the next one is started after a pause,
 * which doubles up to the longest.
 */
#define FIRST_PAUSE_MS   100
#define LONGEST_PAUSE_MS 5000

static char adopt[DESCRIPTORS_MAX * 48];
static struct notice notice;

int
supervisor_open (struct supervisor *s)
{
  const char *upstream = getenv ("NOTIFY_SOCKET");

  snprintf (s->upstream, sizeof s->upstream, "%s", upstream ? upstream : "");
  snprintf (s->address, sizeof s->address, "%s",
            root_path (RUN_FOLDER "/notify"));
  s->pidfd = s->unanswered = -1;
  s->lock = open (root_path (SERVER_LOCK), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (s->lock == -1) {
    log_error ("%s: %m", root_path (SERVER_LOCK));
    return -1;
  }
  descriptors_take (&s->kept);
  s->listening = notify_listen (s->address);
  if (s->listening == -1)
    return -1;
  if (!s->user.same && chown (s->address, s->user.uid, s->user.gid) == -1) {
    log_error ("%s: %m", s->address);
    return -1;
  }
  return 0;
}

void
supervisor_notify (const struct supervisor *s, const char *line)
{
  if (s->upstream[0])
    sd_notify_send (s->upstream, line, NULL, 0, false);
}

/* The server has a lock that its process keeps until it ends, by which the
 * next daemon finds it, and of which there is only one: two servers of one
 * disk would be the end of what is on it.
 */
static const struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

pid_t
supervisor_find (const struct supervisor *s)
{
  struct flock found = lock;

  if (fcntl (s->lock, F_GETLK, &found) == -1 || found.l_type == F_UNLCK)
    return 0;
  return found.l_pid;
}

/* In the child. */
static void __attribute__ ((noreturn))
be_server (const struct supervisor *s, const char *const *argv)
{
  const int null = open ("/dev/null", O_RDONLY);
  sigset_t mask = s->mask;

  log_to = msg_to_user;
  dup2 (null, STDIN_FILENO);
  setenv ("NOTIFY_SOCKET", s->address, 1);
  /* Or nbdkit 1.32 would ask for a signal when this process ends. */
  setenv ("VRAM_SWAP_SUPERVISED", "1", 1);
  if (fcntl (s->lock, F_SETLK, &lock) == -1) {
    log_error ("the previous server is still running");
    _exit (EXIT_FAILED);
  }
  fcntl (s->lock, F_SETFD, 0);
  descriptors_inherit (&s->kept);
  umask (077);
  sigaddset (&mask, SIGTERM);
  sigaddset (&mask, SIGINT);
  sigaddset (&mask, SIGHUP);
  sigdelset (&mask, END_SIGNAL);
  sigdelset (&mask, SIGCHLD);
  sigprocmask (SIG_SETMASK, &mask, NULL);
  /* A shell has it ignored in what it runs in the background. */
  signal (END_SIGNAL, SIG_DFL);
  signal (SIGPIPE, SIG_DFL);
  if (unprivileged_become (&s->user) == -1) {
    log_error ("cannot drop the server's root privileges: %m");
    _exit (EXIT_FAILED);
  }
  execv (s->program, (char *const *) argv);
  log_error ("%s: %m", s->program);
  _exit (EXIT_FAILED);
}

/* The command line as it was given, or for a disk that is kept, which keeps
 * its size and its GPU also when the settings have changed.
 */
static void
make_command (const struct supervisor *s, const char **argv)
{
  const bool adopts = descriptors_complete (&s->kept);
  size_t n = 0;

  for (size_t i = 0; s->command[i]; i++) {
    const char *word = s->command[i];

    if (adopts && strncmp (word, "device=", 7) == 0)
      continue;
    /* Any size will do. */
    if (adopts && strncmp (word, "size=", 5) == 0)
      word = "size=max";
    argv[n++] = word;
  }
  if (adopts)
    argv[n++] = descriptors_adopt (&s->kept, adopt, sizeof adopt);
  argv[n] = NULL;
}

int
supervisor_start (struct supervisor *s)
{
  const char *argv[SERVER_WORDS_MAX + 2];

  make_command (s, argv);
  descriptors_tell (&s->kept, false);
  /* nbdkit does not replace a socket that a killed server left behind. */
  unlink (s->socket);
  s->ready = s->ending = false;
  s->status[0] = '\0';
  s->pid = fork ();
  if (s->pid == 0)
    be_server (s, argv);
  if (s->pid == -1) {
    log_error ("cannot start the server: fork: %m");
    s->pid = 0;
    return -1;
  }
  s->child = true;
  s->pidfd = syscall (SYS_pidfd_open, s->pid, 0);
  s->pause = s->pause == 0                     ? FIRST_PAUSE_MS
             : 2 * s->pause < LONGEST_PAUSE_MS ? 2 * s->pause
                                               : LONGEST_PAUSE_MS;
  return 0;
}

int
supervisor_take (struct supervisor *s, pid_t pid)
{
  s->pidfd = syscall (SYS_pidfd_open, pid, 0);
  if (s->pidfd == -1) {
    log_error ("cannot watch the server, process %ld: %m", (long) pid);
    return -1;
  }
  s->pid = pid;
  /* After an execve of the daemon it is a child still. */
  s->child = waitpid (pid, NULL, WNOHANG) == 0;
  s->ready = true;
  s->ending = false;
  descriptors_tell (&s->kept, false);
  return 0;
}

/* Waits for what systemd does not know of: the server gives up in the end. */
static void
leave_unanswered (struct supervisor *s)
{
  if (notice.n == 0)
    return;
  if (s->unanswered != -1)
    close (s->unanswered);
  s->unanswered = notice.fds[--notice.n];
}

static void
remove_upstream (const struct supervisor *s, const char *name)
{
  char text[128];

  snprintf (text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
  if (s->upstream[0] &&
      sd_notify_send (s->upstream, text, NULL, 0, true) == -1)
    log_warning ("cannot have systemd release %s and its memory: %m", name);
}

/* Passes the server's message on to systemd. */
static void
pass_on (struct supervisor *s)
{
  if (!s->upstream[0])
    return;
  if (sd_notify_send (s->upstream, notice.text, notice.fds, notice.n, true) ==
      -1) {
    log_warning ("cannot pass the server's message on to systemd: %m");
    s->unknown |= notice.n > 0;
  }
}

static void
take_descriptor (struct supervisor *s)
{
  char name[64], value[16];

  if (!notify_value (&notice, "FDNAME", name, sizeof name))
    return;
  if (notify_value (&notice, "FDSTORE", value, sizeof value) &&
      notice.n == 1) {
    /* Two of one name could not be told apart later. */
    if (descriptors_has (&s->kept, name))
      remove_upstream (s, name);
    pass_on (s);
    descriptors_add (&s->kept, name, notice.fds[0]);
    descriptors_tell (&s->kept, s->ending);
    notice.n = 0;
  }
  else if (notify_value (&notice, "FDSTOREREMOVE", value, sizeof value)) {
    pass_on (s);
    descriptors_remove (&s->kept, name);
    if (s->kept.n == 0)
      s->unknown = false;
  }
}

/* Answers the server that its earlier messages have been taken, and passed on
 * to systemd's socket.  Without an answer it does not rely on that.
 */
static void
answer (const struct supervisor *s)
{
  if (notice.n == 1 && !s->unknown)
    send (notice.fds[0], "1", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The server has handed something out, or taken it back, or is ready. */
static void
take_notice (struct supervisor *s)
{
  char value[sizeof s->status];

  if (notice.sender != s->pid)
    goto out;
  if (notify_value (&notice, "BARRIER", value, sizeof value)) {
    if (s->unknown)
      leave_unanswered (s);
    else
      pass_on (s);
    goto out;
  }
  if (notify_value (&notice, "X_VRAM_ANSWER", value, sizeof value)) {
    answer (s);
    goto out;
  }
  if (notify_value (&notice, "READY", value, sizeof value)) {
    s->ready = true;
    s->pause = 0;
    notify_value (&notice, "STATUS", s->status, sizeof s->status);
  }
  if (notify_value (&notice, "X_VRAM_DISCONNECTED", value, sizeof value))
    s->lost_client = true;
  take_descriptor (s);

out:
  /* A barrier's too: that it is closed is the answer, once systemd has done
   * so.
   */
  for (unsigned i = 0; i < notice.n; i++)
    close (notice.fds[i]);
}

bool
supervisor_listen (struct supervisor *s)
{
  const bool was_ready = s->ready;

  for (unsigned i = 0; i < MAX_NOTICES; i++) {
    if (!notify_receive (s->listening, &notice))
      break;
    take_notice (s);
  }
  return s->ready && !was_ready;
}

void
supervisor_end (struct supervisor *s)
{
  s->ending = true;
  descriptors_tell (&s->kept, true);
  if (s->pid > 0 &&
      syscall (SYS_pidfd_send_signal, s->pidfd, END_SIGNAL, NULL, 0) == -1)
    log_warning ("cannot tell the server, process %ld, to end: %m",
                 (long) s->pid);
}

void
supervisor_replace (struct supervisor *s)
{
  s->pause = 0;
  s->replaced = true;
  syscall (SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
}

void
supervisor_discard (struct supervisor *s)
{
  while (s->kept.n > 0) {
    remove_upstream (s, s->kept.one[0].name);
    descriptors_remove (&s->kept, s->kept.one[0].name);
  }
  s->unknown = false;
}

static void
say_end (const struct supervisor *s, int status, const char *what)
{
  if (!s->child)
    log_warning ("the server has ended; %s", what);
  else if (WIFSIGNALED (status))
    log_warning ("the server was killed by SIG%s; %s",
                 sigabbrev_np (WTERMSIG (status)), what);
  else
    log_warning ("the server ended with status %d; %s", WEXITSTATUS (status),
                 what);
}

bool
supervisor_ended (struct supervisor *s)
{
  const bool replaced = s->replaced;
  int status = 0;
  char what[80];

  s->replaced = false;
  /* Its last message may still lie in the socket. */
  supervisor_listen (s);
  if (s->child)
    waitpid (s->pid, &status, 0);
  close (s->pidfd);
  s->pidfd = -1;
  s->pid = 0;
  s->ready = false;
  if (s->ending || !descriptors_complete (&s->kept)) {
    if (s->ending && descriptors_complete (&s->kept))
      say_end (s, status,
               "it was told to end, and its memory was not overwritten");
    /* A server that did not start has logged the reason itself. */
    else if (!s->ending && WIFSIGNALED (status))
      say_end (s, status, "its disk is lost");
    /* A part of a disk is useless, and holds VRAM. */
    supervisor_discard (s);
    return false;
  }
  snprintf (what, sizeof what, "the next one takes over its disk in %u ms",
            s->pause);
  if (!replaced)
    say_end (s, status, what);
  return true;
}
