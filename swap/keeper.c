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
 * - The server ends as this process has told it to: so does this process.
 * - Somebody else tells the server to end: the usual signals for that do nothing,
 *   as nbdkit would fail requests then.  By any other it leaves its disk (enum
 *   state_keeper), and the next one takes it over.
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
#include "life.h"
#include "memlock.h"
#include "msg.h"
#include "notify.h"
#include "run.h"
#include "service.h"
#include "state.h"

#define MAX_WORDS 64

/* What tells the server to end.  Others that nbdkit would do that for are kept
 * from it.
 */
#define END_SIGNAL SIGQUIT

/* Taken from the socket in one go; a server with the largest disk has less. */
#define MAX_NOTICES (2 * DESCRIPTORS_MAX)

/* A server that lives for less than this did not get far: the next one is
 * started after a pause, which doubles up to the longest.
 */
#define SHORT_LIFE_MS    5000
#define FIRST_PAUSE_MS   100
#define LONGEST_PAUSE_MS 5000

struct keeper {
  const char *program, *socket;
  const char *const *command;
  const char *argv[MAX_WORDS + 2]; /* the command as the next server gets it */
  char upstream[128];              /* systemd's NOTIFY_SOCKET, or "" */
  int listening;                   /* to the server's */
  int signals;
  sigset_t mask; /* as it was before */
  pid_t server;  /* 0: none */
  long long started;
  unsigned pause;
  bool ending;    /* we were told to end */
  bool unknown;   /* systemd does not know all that we were told */
  int unanswered; /* a barrier that is not to fall, or -1 */
  struct descriptors kept;
};

static char adopt[DESCRIPTORS_MAX * 48];
static struct notice notice;

/* In the child. */
static void __attribute__ ((noreturn))
become_server (const struct keeper *k, pid_t parent)
{
  sigset_t mask = k->mask;
  char text[16];

  /* Nobody would pass on what it hands out, nor replace it.  The plugin sees
   * to it that nbdkit leaves it at that.
   */
  prctl (PR_SET_PDEATHSIG, SIGKILL);
  if (getppid () != parent)
    _exit (EXIT_FAILED);
  /* For as long as nbdkit has not left it at that, nothing but looking tells. */
  snprintf (text, sizeof text, "%ld", (long) parent);
  setenv ("VRAM_SWAP_KEEPER", text, 1);
  descriptors_inherit (&k->kept);
  sigaddset (&mask, SIGTERM);
  sigaddset (&mask, SIGINT);
  sigaddset (&mask, SIGHUP);
  sigdelset (&mask, END_SIGNAL);
  sigprocmask (SIG_SETMASK, &mask, NULL);
  /* A shell has it ignored in what it runs in the background. */
  signal (END_SIGNAL, SIG_DFL);
  execv (k->program, (char *const *) k->argv);
  error ("%s: %m", k->program);
  _exit (EXIT_FAILED);
}

/* The command line: as it was given, or for a disk that is there, which keeps
 * its size and its GPU whatever the settings say by now.
 */
static void
make_command (struct keeper *k)
{
  const bool adopts = descriptors_complete (&k->kept);
  size_t n = 0;

  for (size_t i = 0; k->command[i]; i++) {
    const char *word = k->command[i];

    if (adopts && strncmp (word, "device=", 7) == 0)
      continue;
    /* Any size will do. */
    if (adopts && strncmp (word, "size=", 5) == 0)
      word = "size=max";
    k->argv[n++] = word;
  }
  if (adopts)
    k->argv[n++] = descriptors_adopt (&k->kept, adopt, sizeof adopt);
  k->argv[n] = NULL;
}

static void
start (struct keeper *k)
{
  const pid_t self = getpid ();

  make_command (k);
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

/* Waits for what systemd does not know of: the server gives up in the end. */
static void
leave_unanswered (struct keeper *k)
{
  if (notice.n == 0)
    return;
  if (k->unanswered != -1)
    close (k->unanswered);
  k->unanswered = notice.fds[--notice.n];
}

/* The server has handed something out, or taken it back. */
static void
take_notice (struct keeper *k)
{
  char name[64], value[16];

  if (notice.sender != k->server)
    goto out;
  if (k->upstream[0] && notify_send (k->upstream, &notice) == -1) {
    warning ("cannot tell systemd what the server says: %m");
    /* What has no descriptor does not matter that much. */
    k->unknown |= notice.n > 0;
  }
  if (k->unknown && notify_value (&notice, "BARRIER", value, sizeof value)) {
    leave_unanswered (k);
    goto out;
  }
  if (!notify_value (&notice, "FDNAME", name, sizeof name))
    goto out;
  if (notify_value (&notice, "FDSTORE", value, sizeof value) &&
      notice.n == 1) {
    descriptors_add (&k->kept, name, notice.fds[0]);
    descriptors_tell (&k->kept, k->ending);
    notice.n = 0;
  }
  else if (notify_value (&notice, "FDSTOREREMOVE", value, sizeof value)) {
    descriptors_remove (&k->kept, name);
    if (k->kept.n == 0)
      k->unknown = false;
  }

out:
  /* A barrier's too: that it is closed is the answer, once systemd has done so.
   */
  for (unsigned i = 0; i < notice.n; i++)
    close (notice.fds[i]);
}

/* Lets go of all that is kept, here and in systemd. */
static void
let_all_go (struct keeper *k)
{
  while (k->kept.n > 0) {
    notice.n = 0;
    snprintf (notice.text, sizeof notice.text, "FDSTOREREMOVE=1\nFDNAME=%s",
              k->kept.one[0].name);
    if (k->upstream[0] && notify_send (k->upstream, &notice) == -1)
      warning ("systemd still keeps %s, and its memory: %m",
               k->kept.one[0].name);
    descriptors_remove (&k->kept, k->kept.one[0].name);
  }
}

/* Gives up a disk that no server has given up: it was not overwritten. */
static void
discard (struct keeper *k)
{
  error ("the disk is given up, its memory not overwritten");
  let_all_go (k);
}

static void
say_end (int status, const char *what)
{
  if (WIFSIGNALED (status))
    warning ("the server was killed by %s; %s",
             sigdescr_np (WTERMSIG (status)), what);
  else
    warning ("the server ended with status %d; %s", WEXITSTATUS (status),
             what);
}

/* All that lies in the socket, which is not much: others' senders wait then. */
static void
take_notices (struct keeper *k)
{
  for (unsigned i = 0; i < MAX_NOTICES; i++) {
    if (!notify_receive (k->listening, &notice))
      return;
    take_notice (k);
  }
}

/* The server has ended.  Returns whether there is to be another one; otherwise
 * *EXIT_STATUS is this process's.
 */
static bool
mourn (struct keeper *k, int status, int *exit_status)
{
  char what[80];

  /* What it said last may still lie in the socket. */
  take_notices (k);
  k->server = 0;
  if (!descriptors_complete (&k->kept)) {
    const bool well = WIFEXITED (status) && WEXITSTATUS (status) == 0;

    /* One that did not start has said why, and those words are to be its last.
     */
    if (WIFSIGNALED (status))
      say_end (status, "its disk is gone with it");
    /* A part of a disk is of no use, and holds VRAM. */
    let_all_go (k);
    *exit_status = well ? EXIT_OK : EXIT_FAILED;
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
    descriptors_tell (&k->kept, true);
    if (k->server)
      kill (k->server, END_SIGNAL);
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
    take_notices (k);
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

/* Is swap on, on our device?  Then it has what is on its disk, and on no other.
 */
static bool
swap_needs_its_disk (void)
{
  struct state st;
  bool on;

  state_read (&st);
  if (!swap_is_on (&st, &on, NULL))
    return true;
  if (on)
    error (
        "swap is on, on /dev/nbd%d, and its disk is not there any more: a "
        "new one would have nothing of what is swapped out; end the programs "
        "that need it and say 'vram-swap down' when outage-timeout is over, "
        "or restart the machine",
        st.device);
  return on;
}

/* Takes over what an earlier keeper had.  Returns 0, or -1 with a message. */
static int
begin (struct keeper *k)
{
  if (descriptors_take (&k->kept) == -1) {
    error ("not started, and nothing is given up; to give the disk up, with "
           "all that is on it: systemctl clean --what=fdstore " SERVER_UNIT);
    return -1;
  }
  if (descriptors_complete (&k->kept)) {
    note ("the disk of an earlier server is there: %zu descriptors; 'size' "
          "and 'device' count after the next 'down'",
          k->kept.n);
    descriptors_tell (&k->kept, false);
    return 0;
  }
  if (swap_needs_its_disk ())
    return -1;
  if (k->kept.n > 0) {
    warning ("only a part of an earlier server's disk is there, or it was "
             "given up: let go");
    let_all_go (k);
  }
  return 0;
}

int
keeper_run (const char *program, const char *const *argv, const char *socket)
{
  struct keeper k = {
    .program = program,
    .socket = socket,
    .command = argv,
    .unanswered = -1,
  };
  char address[512];
  const char *upstream = getenv ("NOTIFY_SOCKET");
  sigset_t set;
  size_t n;

  for (n = 0; argv[n]; n++)
    if (n == MAX_WORDS) {
      error ("the server's command line is too long");
      return EXIT_USAGE;
    }
  snprintf (k.upstream, sizeof k.upstream, "%s", upstream ? upstream : "");
  if (begin (&k) == -1)
    return EXIT_FAILED;
  memlock_process ();

  snprintf (address, sizeof address, "%s.keeper", socket);
  k.listening = notify_listen (address);
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
