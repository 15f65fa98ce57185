/* nbdkit-vram: the commands that have the server give VRAM back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capacity.h"
#include "client.h"
#include "gpu.h"
#include "msg.h"
#include "nvml.h"
#include "options.h"
#include "run.h"
#include "runstate.h"

/* How often the daemon is asked whether the server obeys, and how long a
 * program waits for that before it is started.
 */
#define LOOK_MS      20
#define RUN_LIMIT_MS 30000

/* As env(1) and nice(1) have them. */
#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND  127

/* What the daemon says of the server's VRAM, in bytes. */
struct held {
  int64_t size, held, least, limit;
  bool elastic, obeyed;
  char pci[24];
  char reason[256]; /* why what is held cannot be given back, or "" */
};

/* Returns false when there is no daemon to ask, or no disk. */
static bool
ask_held (struct held *h)
{
  struct json_t *answer = client_get ("status");
  const struct json_t *server = json_get (answer, "server");
  const struct json_t *e = json_get (server, "elastic");
  const bool elastic = json_flag (e, "on"), known = e != NULL;

  *h = (struct held){
    .size = json_number (server, "size"),
    .held = json_number (e, "held"),
    .least = json_number (e, "least"),
    .elastic = elastic,
    .obeyed = json_flag (e, "limit_obeyed"),
  };
  if (!json_get_number (e, "limit", &h->limit))
    h->limit =
        json_flag (e, "limit_configured") ? LIMIT_CONFIGURED : INT64_MAX;
  snprintf (h->pci, sizeof h->pci, "%s", json_text (server, "pci"));
  snprintf (h->reason, sizeof h->reason, "%s",
            json_text (e, elastic ? "spill_reason" : "reason"));
  json_free (answer);
  return known;
}

static void
begin (struct json *j, int64_t size, bool hold)
{
  json_begin (j);
  json_add_string (j, "request", "limit");
  json_add_number (j, "size", size);
  json_add_bool (j, "hold", hold);
}

/* Wait until the server holds no more than it may, or than it must.  Returns
 * false when it must hold more than it may, when MS are over (-1: never), or
 * when a signal came.
 */
static bool
wait_obeyed (struct held *h, long long ms)
{
  const long long end = now_ms () + ms;

  while (ask_held (h) && h->elastic && !h->obeyed) {
    if (h->limit >= 0 && h->least > h->limit && h->held <= h->least)
      return false;
    if ((ms >= 0 && now_ms () > end) || !pause_ms (LOOK_MS))
      return false;
  }
  return h->obeyed;
}

static void
print_limit (const struct held *h)
{
  if (!h->elastic)
    printf ("limit: none, the disk is not elastic%s%s\n",
            h->reason[0] ? ": " : "", h->reason);
  else if (h->limit == LIMIT_CONFIGURED)
    printf ("limit: as configured, %s held\n", human (h->held));
  else if (h->limit == INT64_MAX)
    printf ("limit: none, %s held\n", human (h->held));
  else
    printf ("limit: %s, %s held\n", human (h->limit), human (h->held));
}

/* SIZE, N% of the disk, max, or config.  Returns false for other text. */
static bool
parse_limit (const char *text, int64_t disk, int64_t *limit)
{
  char *end;
  long percent;

  if (strcmp (text, "max") == 0)
    *limit = INT64_MAX;
  else if (strcmp (text, "config") == 0)
    *limit = LIMIT_CONFIGURED;
  else if (conf_parse_bytes (text, limit))
    return true;
  else {
    errno = 0;
    percent = strtol (text, &end, 10);
    if (end == text || strcmp (end, "%") != 0 || errno != 0 || percent < 0 ||
        percent > 100)
      return false;
    *limit = disk / 100 * percent;
  }
  return true;
}

/* limit [SIZE|N%|max|config] */
int
cmd_limit (struct options *o)
{
  struct held h;
  struct json j;
  int64_t limit;
  int status;

  if (!ask_held (&h)) {
    if (errno == EACCES || errno == EPERM)
      log_error ("only root and group vram-swap may ask for that");
    else
      log_error (
          "swap is off, or the daemon is not running; see 'vram-swap status'");
    return EXIT_FAILED;
  }
  if (o->argc == 0) {
    print_limit (&h);
    return EXIT_OK;
  }
  if (!parse_limit (o->argv[0], h.size, &limit)) {
    log_error ("invalid limit '%s'; expected a size such as 2G, a share of "
               "the disk such as 50%%, max, or config",
               o->argv[0]);
    return EXIT_USAGE;
  }
  begin (&j, limit, false);
  status = client_ask (&j);
  if (status == -1) {
    log_error ("the daemon does not answer");
    return EXIT_FAILED;
  }
  if (status != EXIT_OK)
    return status;
  if (!wait_obeyed (&h, -1)) {
    if (was_interrupted ())
      return EXIT_INTERRUPTED;
    log_error ("the server still holds %s, of which %s hold swapped data "
               "that cannot be moved%s%s",
               human (h.held), human (h.least), h.reason[0] ? ": " : "",
               h.reason);
    return EXIT_FAILED;
  }
  log_info ("%s of VRAM held", human (h.held));
  return EXIT_OK;
}

/* --- run --- */

/* How much may be held while FREE bytes have to be free for a program. */
static int64_t
leave_free (const struct held *h, int64_t free_bytes)
{
  struct gpu g;
  int64_t rest = h->held - free_bytes;

  if (h->pci[0] && nvml_ask (&g, h->pci) && g.free >= 0)
    rest += g.free;
  return rest > 0 ? rest : 0;
}

/* Returns a connection that holds the limit, or -1. */
static int
hold (int64_t limit)
{
  struct json j;
  int status, fd;

  begin (&j, limit, true);
  fd = client_keep (&j, &status);
  if (fd != -1 && status != EXIT_OK) {
    close (fd);
    return -1;
  }
  return fd;
}

/* Have the server give VRAM back for the program, which is started also when
 * that fails.
 */
static int
make_free (const struct options *o, int64_t *limit)
{
  struct held h;
  int fd;

  *limit = 0;
  if (!ask_held (&h)) {
    if (errno == EACCES || errno == EPERM)
      log_warning (
          "no VRAM is given back: only root and group vram-swap may ask "
          "for that");
    else
      log_warning ("no VRAM is given back: swap is off");
    return -1;
  }
  if (!h.elastic) {
    log_warning ("no VRAM is given back: the disk is not elastic%s%s",
                 h.reason[0] ? ": " : "", h.reason);
    return -1;
  }
  if (o->has_free)
    *limit = leave_free (&h, o->free_bytes);
  fd = hold (*limit);
  if (fd == -1)
    log_warning ("no VRAM is given back: the daemon does not answer");
  else if (!wait_obeyed (&h, RUN_LIMIT_MS) && !was_interrupted ())
    log_warning (
        "the server still holds %s of VRAM, of which %s hold swapped data%s%s",
        human (h.held), human (h.least), h.reason[0] ? ": " : "", h.reason);
  return fd;
}

static void __attribute__ ((noreturn))
become_program (char **argv, const sigset_t *mask)
{
  int status;

  signal (SIGINT, SIG_DFL);
  signal (SIGTERM, SIG_DFL);
  signal (SIGHUP, SIG_DFL);
  sigprocmask (SIG_SETMASK, mask, NULL);
  execvp (argv[0], argv);
  status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
  log_error ("%s: %m", argv[0]);
  _exit (status);
}

/* Wait for the end of PID and pass signals on to it.  When the daemon is
 * replaced, hold LIMIT with the next one.
 */
static int
attend (pid_t pid, int signals, int fd, int64_t limit)
{
  struct signalfd_siginfo info;
  int status;

  for (;;) {
    struct pollfd from[] = { { .fd = signals, .events = POLLIN },
                             { .fd = fd, .events = POLLIN } };

    /* A daemon that was not there at the start is not waited for. */
    if (poll (from, 2, fd == -1 && limit >= 0 ? 1000 : -1) == 0)
      fd = hold (limit);
    if (from[1].revents != 0) {
      close (fd);
      fd = -1;
    }
    if (from[0].revents == 0 ||
        read (signals, &info, sizeof info) != sizeof info)
      continue;
    if (info.ssi_signo != SIGCHLD)
      kill (pid, info.ssi_signo);
    else if (waitpid (pid, &status, WNOHANG) == pid)
      return WIFSIGNALED (status) ? 128 + WTERMSIG (status)
                                  : WEXITSTATUS (status);
  }
}

/* run [--free=SIZE] [--] PROGRAM [ARGUMENT...] */
int
cmd_run (struct options *o)
{
  sigset_t set, mask;
  int64_t limit;
  int fd, signals;
  pid_t pid;

  if (o->argc == 0) {
    log_error ("no program given; usage: vram-swap run [--free=SIZE] PROGRAM "
               "[ARGUMENT...]");
    return EXIT_USAGE;
  }
  fd = make_free (o, &limit);
  if (was_interrupted ())
    return EXIT_INTERRUPTED;
  sigemptyset (&set);
  sigaddset (&set, SIGCHLD);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGHUP);
  sigprocmask (SIG_BLOCK, &set, &mask);
  /* What the terminal sends goes to the program as well. */
  signal (SIGINT, SIG_IGN);
  signal (SIGQUIT, SIG_IGN);
  signals = signalfd (-1, &set, SFD_CLOEXEC);
  pid = signals == -1 ? -1 : fork ();
  if (pid == -1) {
    log_error ("%s: %m", o->argv[0]);
    return EXIT_CANNOT_RUN;
  }
  if (pid == 0) {
    signal (SIGQUIT, SIG_DFL);
    become_program (o->argv, &mask);
  }
  return attend (pid, signals, fd, fd == -1 ? -1 : limit);
}
