/* nbdkit-vram: runs a program for a bounded time
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "msg.h"
#include "run.h"
#include "unprivileged.h"

static const char sbin[] = "/usr/local/sbin:/usr/sbin:/sbin";

bool
pause_ms (unsigned ms)
{
  struct timespec ts = { .tv_sec = ms / 1000,
                         .tv_nsec = ms % 1000 * 1000000L };

  if (!interrupted ())
    nanosleep (&ts, NULL);
  return !interrupted ();
}

const char *
run_find (const char *program, char *buf, size_t size)
{
  const char *lists[] = { getenv ("PATH"), sbin };

  if (strchr (program, '/')) {
    snprintf (buf, size, "%s", program);
    return access (buf, X_OK) == 0 ? buf : NULL;
  }
  for (size_t i = 0; i < 2; i++) {
    const char *dir = lists[i];

    while (dir && *dir) {
      int n = strcspn (dir, ":");

      snprintf (buf, size, "%.*s/%s", n, dir, program);
      if (access (buf, X_OK) == 0)
        return buf;
      dir += n + (dir[n] == ':');
    }
  }
  return NULL;
}

/* In the child: waits for the parent's word, then becomes the program. */
static void __attribute__ ((noreturn))
become (const char *path, const char *const *argv, int go, int out,
        const struct unprivileged *user)
{
  sigset_t none;
  char byte;
  int null = open ("/dev/null", O_RDONLY);

  if (read (go, &byte, 1) != 1)
    _exit (127);
  /* Its own process group: a Ctrl-C at the terminal comes to us alone, and
   * what becomes of the program is decided here.
   */
  setpgid (0, 0);
  dup2 (null, STDIN_FILENO);
  dup2 (out, STDOUT_FILENO);
  dup2 (out, STDERR_FILENO);
  signal (SIGPIPE, SIG_DFL);
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  setenv ("LC_ALL", "C", 1);
  if (user && unprivileged_become (user) == -1) {
    dprintf (STDERR_FILENO, "cannot become user %ld: %s\n", (long) user->uid,
             strerror (errno));
    _exit (127);
  }
  execv (path, (char *const *) argv);
  dprintf (STDERR_FILENO, "%s: %s\n", path, strerror (errno));
  _exit (127);
}

/* Collects output until the program closes it or DEADLINE.  True when it
 * ended by itself.
 */
static bool
collect (struct run *r, int fd, pid_t pid, long long deadline, int *status,
         bool *reaped)
{
  size_t used = strlen (r->output);
  char spill[512];

  for (;;) {
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    long long left = deadline - now_ms ();
    ssize_t n;

    /* A daemon that the program leaves behind may keep the pipe open, so the
     * program's own end counts too.
     */
    if (!*reaped && waitpid (pid, status, WNOHANG) == pid)
      *reaped = true;
    if (left <= 0 || (interrupted () && !r->interrupted && !r->undisturbed))
      return false;
    if (poll (&pfd, 1, *reaped ? 0 : left < 50 ? (int) left : 50) <= 0) {
      if (*reaped)
        return true;
      continue;
    }
    if (used < sizeof r->output - 1) {
      n = read (fd, r->output + used, sizeof r->output - 1 - used);
      if (n > 0)
        used += n;
    }
    else
      n = read (fd, spill, sizeof spill);
    r->output[used] = '\0';
    if (n == 0 && *reaped)
      return true;
    if (n == 0)
      pause_ms (5);
  }
}

int
run (struct run *r, const char *const *argv,
     int (*started) (pid_t pid, void *opaque), void *opaque)
{
  char path[512];
  int out[2] = { -1, -1 }, go[2] = { -1, -1 }, status = 0;
  const bool drop = r->as_server && geteuid () == 0;
  struct unprivileged user;
  bool reaped = false;
  pid_t pid;
  size_t n;

  r->timed_out = r->interrupted = false;
  r->output[0] = '\0';
  r->status = 127;

  /* systemd-sysusers may not have made the server's user yet. */
  if (drop &&
      unprivileged_find (&user, getpwnam (SERVER_USER) ? SERVER_USER
                                                       : "nobody") == -1) {
    snprintf (r->output, sizeof r->output, "no user to run it as");
    return -1;
  }
  if (!run_find (argv[0], path, sizeof path)) {
    snprintf (r->output, sizeof r->output, "%s: not found", argv[0]);
    return -1;
  }
  if (pipe2 (out, O_CLOEXEC) == -1 || pipe2 (go, O_CLOEXEC) == -1) {
    snprintf (r->output, sizeof r->output, "pipe: %s", strerror (errno));
    goto out;
  }
  pid = fork ();
  if (pid == -1) {
    snprintf (r->output, sizeof r->output, "fork: %s", strerror (errno));
    goto out;
  }
  if (pid == 0) {
    /* Or the end of file that says "do not" would never be seen. */
    close (go[1]);
    become (path, argv, go[0], out[1], drop ? &user : NULL);
  }

  close (out[1]);
  out[1] = -1;
  /* Without the byte the child ends by itself with status 127. */
  if (!started || started (pid, opaque) == 0)
    if (write (go[1], "", 1) != 1)
      kill (pid, SIGKILL);
  close (go[1]);
  go[1] = -1;

  if (!collect (r, out[0], pid, now_ms () + r->limit * 1000LL, &status,
                &reaped)) {
    r->interrupted = interrupted () && !r->undisturbed;
    r->timed_out = !r->interrupted;
    if (!reaped) {
      kill (pid, SIGTERM);
      if (!collect (r, out[0], pid, now_ms () + 2000, &status, &reaped) &&
          !reaped) {
        kill (pid, SIGKILL);
        waitpid (pid, &status, 0);
        reaped = true;
      }
    }
  }
  if (!reaped)
    waitpid (pid, &status, 0);

  n = strlen (r->output);
  while (n > 0 && r->output[n - 1] == '\n')
    r->output[--n] = '\0';
  if (r->timed_out)
    r->status = 124;
  else if (r->interrupted)
    r->status = 130;
  else
    r->status =
        WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);

out:
  for (size_t i = 0; i < 2; i++) {
    if (out[i] != -1)
      close (out[i]);
    if (go[i] != -1)
      close (go[i]);
  }
  return r->status == 0 ? 0 : -1;
}

const char *
run_reason (const struct run *r)
{
  static char text[400];
  const char *complaint;
  size_t n = 0;

  if (r->timed_out)
    return "took too long";
  if (r->interrupted)
    return "interrupted";
  if (r->output[0] == '\0')
    return "failed without a message";
  /* Some explain their usage after they have complained. */
  complaint = strstr (r->output, "error: ");
  if (complaint) {
    snprintf (text, sizeof text, "%.*s", (int) strcspn (complaint, "\n"),
              complaint);
    return text;
  }
  for (const char *p = r->output; *p && n < sizeof text - 3; p++)
    if (*p == '\n') {
      text[n++] = ';';
      text[n++] = ' ';
    }
    else
      text[n++] = *p;
  text[n] = '\0';
  return text;
}
