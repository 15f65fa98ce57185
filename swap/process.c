/* nbdkit-vram: processes that are not our children
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "msg.h"
#include "process.h"
#include "root.h"
#include "run.h"

int64_t
process_started (pid_t pid)
{
  char text[1024], state;
  const char *at;
  int64_t ticks;

  if (read_text (root_path ("/proc/%ld/stat", (long) pid), text,
                 sizeof text) <= 0)
    return -1;
  at = strrchr (text, ')'); /* the name may hold anything */
  if (!at ||
      sscanf (at + 1,
              " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
              "%*d %*d %*d %*d %" SCNd64,
              &state, &ticks) != 2 ||
      state == 'Z')
    return -1;
  return ticks;
}

static void __attribute__ ((noreturn))
be_detached (pid_t between, int log, void (*start) (void *opaque),
             void *opaque)
{
  int null = open ("/dev/null", O_RDONLY);
  sigset_t none;

  setsid ();
  dup2 (null, STDIN_FILENO);
  dup2 (log, STDOUT_FILENO);
  dup2 (log, STDERR_FILENO);
  signal (SIGPIPE, SIG_DFL);
  sigemptyset (&none);
  sigprocmask (SIG_SETMASK, &none, NULL);
  /* Locks that we hold are not for it to hold. */
  closefrom (STDERR_FILENO + 1);
  /* Some versions of nbdkit (1.32.5 among them) end with the parent that they
   * have at their start, whether asked to or not.
   */
  while (getppid () == between)
    usleep (1000);
  if (chdir ("/") == 0)
    start (opaque);
  _exit (1);
}

pid_t
process_detached (const char *log, void (*start) (void *opaque), void *opaque)
{
  int fd = open (log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int tell[2] = { -1, -1 };
  pid_t between, pid = -1;

  if (fd == -1) {
    error ("%s: %m", log);
    return -1;
  }
  if (pipe2 (tell, O_CLOEXEC) == -1) {
    error ("pipe: %m");
    goto out;
  }
  between = fork ();
  if (between == -1) {
    error ("fork: %m");
    goto out;
  }
  if (between == 0) {
    pid_t self = getpid ();

    pid = fork ();
    if (pid == 0)
      be_detached (self, fd, start, opaque);
    _exit (write (tell[1], &pid, sizeof pid) != sizeof pid);
  }
  if (read (tell[0], &pid, sizeof pid) != sizeof pid || pid == -1) {
    error ("cannot start a process");
    pid = -1;
  }
  waitpid (between, NULL, 0);

out:
  close (fd);
  if (tell[0] != -1) {
    close (tell[0]);
    close (tell[1]);
  }
  return pid;
}
