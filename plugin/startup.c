/* nbdkit-vram: reports the result of a start to nbdkit's parent
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "logging.h"
#include "startup.h"

#define SERVES 's'
#define FAILED 'f'

static struct {
  pid_t parent;   /* the process that called startup_prepare */
  int result[2];  /* a pipe: the server writes SERVES or FAILED */
  int stderr_was; /* the parent's */

  /* Sockets to listen on were inherited (socket activation): they belong to
   * another program.
   */
  bool sockets_inherited;
} startup = { .result = { -1, -1 }, .stderr_was = -1 };

/* Call TREAT with each socket of this process that is listening.  Returns how
 * many there are.
 */
static unsigned
for_each_listener (void (*treat) (int fd))
{
  DIR *dir = opendir ("/proc/self/fd");
  const struct dirent *entry;
  unsigned count = 0;

  while (dir && (entry = readdir (dir)) != NULL) {
    int fd = (int) strtol (entry->d_name, NULL, 10), listens = 0;
    socklen_t n = sizeof listens;

    if (getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == -1 ||
        !listens)
      continue;
    ++count;
    if (treat)
      treat (fd);
  }
  if (dir)
    closedir (dir);
  return count;
}

static void
close_fd (int *fd)
{
  if (*fd != -1)
    close (*fd);
  *fd = -1;
}

/* Whether the socket at ADDR is the one that FD listens on.  For both, the
 * kernel tells which process called listen.
 */
static bool
is_same_socket (const struct sockaddr_un *addr, socklen_t size, int fd)
{
  struct ucred own = { 0 }, found = { 0 };
  socklen_t n = sizeof own, m = sizeof found;
  int client = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  bool same;

  same = connect (client, (const struct sockaddr *) addr, size) == 0 &&
         getsockopt (client, SOL_SOCKET, SO_PEERCRED, &found, &m) == 0 &&
         getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &own, &n) == 0 &&
         own.pid == found.pid;
  close_fd (&client);
  return same;
}

/* Remove the name of the socket FD, disconnect the clients that wait there,
 * and refuse later ones.  The parent of a --run command holds the socket too,
 * so that closing FD would not do.
 */
static void
withdraw_socket (int fd)
{
  struct sockaddr_un addr = { .sun_family = AF_UNSPEC };
  socklen_t size = sizeof addr;
  int client;

  if (getsockname (fd, (struct sockaddr *) &addr, &size) == 0 &&
      addr.sun_family == AF_UNIX && size > sizeof addr.sun_family &&
      addr.sun_path[0] != '\0' && is_same_socket (&addr, size, fd) &&
      unlink (addr.sun_path) == -1)
    log_warning ("cannot remove the socket %s: %m; remove it before the next "
                 "start",
                 addr.sun_path);
  shutdown (fd, SHUT_RDWR);
  fcntl (fd, F_SETFL, O_NONBLOCK);
  while ((client = accept4 (fd, NULL, NULL, SOCK_CLOEXEC)) != -1)
    close (client);
}

static void
withdraw_sockets (void)
{
  if (!startup.sockets_inherited)
    for_each_listener (withdraw_socket);
}

/* Runs at exit of the parent process, which nbdkit ends as soon as it has
 * forked.  Waits for the server.
 */
static void
wait_for_server (void)
{
  static const int signals[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };
  siginfo_t info;
  char result = 0;
  ssize_t n;

  /* Without a child, nbdkit has not forked, or has waited for it (--run). */
  if (getpid () != startup.parent || startup.result[0] == -1 ||
      waitid (P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == -1)
    return;
  close_fd (&startup.result[1]);
  /* nbdkit's handlers are for the server only. */
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; ++i)
    signal (signals[i], SIG_DFL);
  do
    n = read (startup.result[0], &result, 1);
  while (n == -1 && errno == EINTR);
  if (n == 1 && result == SERVES)
    return;
  if (n == 0) {
    log_error ("the server ended before it was ready");
    withdraw_sockets ();
  }
  fflush (NULL);
  _exit (EXIT_FAILURE);
}

void
startup_prepare (void)
{
  startup.parent = getpid ();
  startup.sockets_inherited = for_each_listener (NULL) > 0;
  startup.stderr_was = fcntl (STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  if (pipe2 (startup.result, O_CLOEXEC) == -1 ||
      atexit (wait_for_server) != 0) {
    log_warning ("nbdkit cannot wait until the server has started: %m");
    close_fd (&startup.result[0]);
    close_fd (&startup.result[1]);
  }
}

void
startup_begin (void)
{
  close_fd (&startup.result[0]);
  if (getpid () != startup.parent)
    logging_copy_to (startup.stderr_was);
}

/* End all descendants of PID except this process. */
static void
end_descendants (pid_t pid)
{
  char path[64];
  FILE *fp;
  int child;

  snprintf (path, sizeof path, "/proc/%d/task/%d/children", (int) pid,
            (int) pid);
  fp = fopen (path, "re");
  while (fp && fscanf (fp, "%d", &child) == 1)
    if (child != getpid ()) {
      end_descendants (child);
      kill (child, SIGTERM);
    }
  if (fp)
    fclose (fp);
}

static void
withdraw (void)
{
  withdraw_sockets ();
  /* The parent runs the --run command, or waits for this process only. */
  if (getpid () != startup.parent && getppid () == startup.parent)
    end_descendants (startup.parent);
}

void
startup_end (bool serves)
{
  static atomic_flag ended = ATOMIC_FLAG_INIT;
  const char result = serves ? SERVES : FAILED;

  if (atomic_flag_test_and_set (&ended))
    return;
  if (!serves)
    withdraw ();
  logging_copy_to (-1);
  /* nbdkit ignores SIGPIPE. */
  if (startup.result[1] != -1 && write (startup.result[1], &result, 1) == -1)
    log_debug ("the process that started nbdkit has ended: %m");
  close_fd (&startup.result[1]);
  close_fd (&startup.stderr_was);
}
