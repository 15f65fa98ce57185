/* nbdkit-vram: keeps a server running, and its disk while there is none
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The server hands out descriptors by which its disk, VRAM and all, outlives it
 * (nbdkit-vram-plugin(1)).  systemd could keep them and start the next server,
 * but while swap does not answer, systemd may itself wait for a page of its own
 * that is swapped out.  So this process stands between them: small, all of it in
 * RAM, it keeps the descriptors, starts the next server, and opens no file while
 * there is none but those of that server.  What it is told it also passes on to
 * systemd, which is there for the case that this process dies, too.
 *
 * - The server is killed, crashes, or fails: the next one takes the disk over.
 *   If that one fails as well, another is started, later and later, for as long
 *   as it takes: a disk that cannot be taken over now is not given up.
 * - The server ends as it was told to: so does this process.
 * - This process dies: so does the server (PR_SET_PDEATHSIG), as if killed.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "descriptors.h"
#include "keeper.h"
#include "msg.h"
#include "notify.h"
#include "run.h"
#include "unswapped.h"

#define MAX_WORDS 64

/* A server that lives for less than this did not get far: the next one is
 * started after a pause, which doubles up to the longest.
 */
#define SHORT_LIFE_MS    5000
#define FIRST_PAUSE_MS   100
#define LONGEST_PAUSE_MS 5000

struct keeper {
  const char *program, *socket;
  const char *argv[MAX_WORDS + 2];
  char upstream[128]; /* systemd's NOTIFY_SOCKET, or "" */
  int listening;      /* to the server's */
  int signals;
  sigset_t mask; /* as it was before */
  pid_t server;  /* 0: none */
  long long started;
  unsigned pause;
  bool ending; /* we were told to end */
  struct descriptors kept;
};

static char adopt[DESCRIPTORS_MAX * 48];
static struct notice notice;

/* In the child. */
static void __attribute__ ((noreturn))
become_server (const struct keeper *k, pid_t parent)
{
  /* Nobody would pass on what it hands out, nor replace it.  The plugin sees
   * to it that nbdkit leaves it at that.
   */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != parent)
    _exit (EXIT_FAILED);
  descriptors_inherit (&k->kept);
  sigprocmask (SIG_SETMASK, &k->mask, NULL);
  execv (k->program, (char *const *) k->argv);
  error ("%s: %m", k->program);
  _exit (EXIT_FAILED);
}

static void
start (struct keeper *k)
{
  const pid_t self = getpid ();
  size_t n = 0;

  while (k->argv[n] && strncmp (k->argv[n], "adopt=", 6) != 0)
    n++;
  k->argv[n] = NULL;
  if (descriptors_complete (&k->kept))
    k->argv[n] = descriptors_adopt (&k->kept, adopt, sizeof adopt);
  /* nbdkit does not replace a socket that a killed server left behind. */
  unlink (k->socket);
  k->started = now_ms ();
  k->server = fork ();
  if (k->server == 0)
    become_server (k, self);
  if (k->server == -1) {
    error ("fork: %m");
    k->server = 0;
  }
}

/* The server has handed something out, or taken it back. */
static void
take_notice (struct keeper *k)
{
  char name[64], value[16];

  if (notice.sender != k->server)
    goto out;
  if (k->upstream[0] && notify_send (k->upstream, &notice) == -1)
    warning ("cannot tell systemd what the server says: %m");
  if (!notify_value (&notice, "FDNAME", name, sizeof name))
    goto out;
  if (notify_value (&notice, "FDSTORE", value, sizeof value) && notice.n == 1) {
    descriptors_add (&k->kept, name, notice.fds[0]);
    notice.n = 0;
  }
  else if (notify_value (&notice, "FDSTOREREMOVE", value, sizeof value))
    descriptors_remove (&k->kept, name);

out:
  /* A barrier's too: that it is closed is the answer, once systemd has done so.
   */
  for (unsigned i = 0; i < notice.n; i++)
    close (notice.fds[i]);
}

/* Gives up a disk that no server has given up: it was not overwritten. */
static void
discard (struct keeper *k)
{
  error ("the disk is given up, its memory not overwritten");
  while (k->kept.n > 0) {
    notice.n = 0;
    snprintf (notice.text, sizeof notice.text, "FDSTOREREMOVE=1\nFDNAME=%s",
              k->kept.one[0].name);
    if (k->upstream[0])
      notify_send (k->upstream, &notice);
    descriptors_remove (&k->kept, k->kept.one[0].name);
  }
}

static void
say_end (int status, const char *what)
{
  if (WIFSIGNALED (status))
    warning ("the server was killed by %s; %s", sigdescr_np (WTERMSIG (status)),
             what);
  else
    warning ("the server ended with status %d; %s", WEXITSTATUS (status), what);
}

/* The server has ended.  Returns whether there is to be another one; otherwise
 * *EXIT_STATUS is this process's.
 */
static bool
mourn (struct keeper *k, int status, int *exit_status)
{
  char what[80];

  /* What it said last may still lie in the socket. */
  while (notify_receive (k->listening, &notice))
    take_notice (k);
  k->server = 0;
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0) {
    *exit_status = EXIT_OK;
    return false;
  }
  if (!descriptors_complete (&k->kept)) {
    /* One that did not start has said why, and those words are to be its last.
     */
    if (WIFSIGNALED (status))
      say_end (status, "its disk is gone with it");
    *exit_status = EXIT_FAILED;
    return false;
  }
  if (k->ending) {
    say_end (status, "it was told to end");
    discard (k);
    *exit_status = EXIT_FAILED;
    return false;
  }
  if (now_ms () - k->started >= SHORT_LIFE_MS)
    k->pause = 0;
  snprintf (what, sizeof what, "the next one takes its disk over in %u ms",
            k->pause);
  say_end (status, what);
  return true;
}

/* Something came by signal.  Returns false when this process is to end. */
static bool
take_signal (struct keeper *k, int *exit_status)
{
  struct signalfd_siginfo info;
  bool another = true;
  int status;

  while (read (k->signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD)
      continue;
    k->ending = true;
    if (k->server)
      kill (k->server, info.ssi_signo);
    else {
      /* Only while the disk waits for its next server. */
      discard (k);
      *exit_status = EXIT_FAILED;
      return false;
    }
  }
  while (k->server && waitpid (k->server, &status, WNOHANG) == k->server)
    another = mourn (k, status, exit_status);
  return another;
}

static int
keep (struct keeper *k)
{
  int exit_status = EXIT_FAILED;

  start (k);
  for (;;) {
    struct pollfd fds[2] = {
      { .fd = k->signals, .events = POLLIN },
      { .fd = k->listening, .events = POLLIN },
    };
    int n = poll (fds, 2, k->server ? -1 : (int) k->pause);

    if (n == -1 && errno != EINTR)
      return EXIT_FAILED;
    /* Before its end: it says things and ends. */
    while (notify_receive (k->listening, &notice))
      take_notice (k);
    if (!take_signal (k, &exit_status))
      return exit_status;
    if (k->server)
      continue;
    if (n > 0 && k->pause > 0)
      continue; /* waits from now on */
    start (k);
    k->pause = k->pause == 0                     ? FIRST_PAUSE_MS
               : 2 * k->pause < LONGEST_PAUSE_MS ? 2 * k->pause
                                                 : LONGEST_PAUSE_MS;
  }
}

int
keeper_run (const char *program, const char *const *argv, const char *socket)
{
  struct keeper k = { .program = program, .socket = socket };
  char address[128];
  const char *upstream = getenv ("NOTIFY_SOCKET");
  sigset_t set;
  size_t n;

  for (n = 0; argv[n]; n++) {
    if (n == MAX_WORDS) {
      error ("the server's command line is too long");
      return EXIT_USAGE;
    }
    k.argv[n] = argv[n];
  }
  descriptors_take (&k.kept);
  if (descriptors_complete (&k.kept))
    note ("the disk of an earlier server is there: %zu descriptors", k.kept.n);
  stay_unswapped ();

  snprintf (k.upstream, sizeof k.upstream, "%s", upstream ? upstream : "");
  k.listening = notify_listen (address, sizeof address);
  if (k.listening == -1)
    return EXIT_FAILED;
  setenv ("NOTIFY_SOCKET", address, 1);

  sigemptyset (&set);
  sigaddset (&set, SIGCHLD);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGINT);
  sigprocmask (SIG_BLOCK, &set, &k.mask);
  k.signals = signalfd (-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (k.signals == -1) {
    error ("signalfd: %m");
    return EXIT_FAILED;
  }
  return keep (&k);
}
