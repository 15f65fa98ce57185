/* nbdkit-vram: empties the device, switches swap off there, and detaches it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/memlock.h"
#include "capacity.h"
#include "jobs.h"
#include "msg.h"
#include "nbd-device.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "spare.h"
#include "swaps.h"

#define LOOK_MS     1000 /* how often it is looked again whether it fits */
#define GUARD_MS    50   /* how often what is left is looked at meanwhile */
#define PROGRESS_MS 200

static struct swaps swaps;

/* The swap on device N, or NULL, also when that cannot be read: ERR tells. */
static const struct swap *
look (unsigned n, bool *err)
{
  *err = swaps_read (&swaps) == -1;
  return *err ? NULL : nbd_find_swap (&swaps, n);
}

static void
say_capacity (const struct capacity *r, unsigned n)
{
  char device[32], text[512];

  snprintf (device, sizeof device, "/dev/nbd%u", n);
  capacity_explain (r, device, text, sizeof text);
  log_error ("%s", text);
}

static bool
may_wait (const struct job_order *o, long long started)
{
  return o->wait && (o->wait_ms < 0 || now_ms () - started < o->wait_ms);
}

/* Whether what is swapped to the device fits elsewhere, or comes to with wait.
 * Returns an exit status.
 */
static int
make_room (const struct job_order *o, const char *path, long long started)
{
  const unsigned n = o->attached.device;
  int64_t in_one_go;
  bool told = false;
  struct capacity r;
  char name[32];

  for (;;) {
    if (capacity_read (&r, path, spare_held ()) == -1)
      return EXIT_FAILED;
    if (r.fits)
      return EXIT_OK;
    in_one_go = capacity_in_one_go (r.need, name);
    if (o->force && r.overcommit == 0 && in_one_go <= capacity_total (&r))
      return EXIT_OK;
    if (!told)
      say_capacity (&r, n);
    if (!o->wait && o->force && r.overcommit == 0) {
      log_error ("refused even with --force: the kernel would read back %s of "
                 "%s at once, run out of memory and kill programs",
                 human (in_one_go), name);
      return EXIT_REFUSED;
    }
    if (!o->wait) {
      log_error (r.overcommit > 0
                     ? "refused: not enough memory; close programs, or set "
                       "vm.overcommit_memory to 0"
                     : "refused: not enough memory; close programs, add swap, "
                       "or use --wait or --force");
      return EXIT_REFUSED;
    }
    if (!told && r.need > capacity_total (&r))
      log_info ("waiting until %s more is free",
                human (r.need - capacity_total (&r)));
    told = true;
    if (!may_wait (o, started)) {
      say_capacity (&r, n);
      log_error ("refused after waiting %lld s",
                 (long long) o->wait_ms / 1000);
      return EXIT_REFUSED;
    }
    if (!pause_ms (LOOK_MS))
      return EXIT_INTERRUPTED;
  }
}

/* swapoff(2) in a process of its own: the kernel makes the caller the first to
 * be killed when memory runs out, and swap then stays on.  Its exit status is
 * errno.  A signal ends the call early, between two processes whose pages it
 * brings back.  Swap then stays on, and the call can be repeated.
 */
static pid_t
start_swapoff (const char *node)
{
  const pid_t pid = fork ();

  if (pid == -1)
    log_error ("fork: %m");
  if (pid == 0) {
    signal (SIGTERM, SIG_DFL);
    _exit (swapoff (node) == -1 ? errno : 0);
  }
  return pid;
}

/* Would the next process that is brought back find no room? */
static bool
no_room_left (const char *path)
{
  struct capacity r;
  char name[32];

  return capacity_read (&r, path, spare_held ()) == 0 && r.need > 0 &&
         capacity_total (&r) < capacity_in_one_go (r.need, name);
}

/* What is left on device N; the kernel takes it out of the list as soon as
 * swapoff begins to end.
 */
static int64_t
left_on (unsigned n, int64_t otherwise)
{
  bool err;
  const struct swap *swap = look (n, &err);

  return err ? otherwise : swap ? swap->used : 0;
}

/* Empties the device and switches it off, by NODE.  Stops before memory runs
 * out: the kernel would first kill the caller of swapoff, but then others,
 * since what has come back into RAM does not leave it with that.  PATH is what
 * the swap is called in /proc/swaps.  Returns an exit status.
 */
static int
empty (unsigned n, const char *node, const char *path, int64_t used)
{
  const int64_t total = used;
  enum { GOES_ON, INTERRUPTED, FULL } stop = GOES_ON;
  int status = 0;
  pid_t pid = start_swapoff (node);
  long long shown = 0;

  if (pid == -1)
    return EXIT_FAILED;
  while (waitpid (pid, &status, WNOHANG) == 0) {
    if (stop == GOES_ON) {
      if (interrupted ())
        stop = INTERRUPTED;
      else if (no_room_left (path))
        stop = FULL;
      /* It looks for signals between any two processes. */
      if (stop != GOES_ON)
        kill (pid, SIGTERM);
    }
    used = left_on (n, used);
    if (now_ms () - shown >= PROGRESS_MS) {
      shown = now_ms ();
      job_tell_progress ("emptying", total, used);
    }
    /* Not pause_ms, which does not wait any more after a signal. */
    usleep (GUARD_MS * 1000);
  }
  used = left_on (n, used);
  job_tell_progress ("emptying", total, used);

  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return EXIT_OK;
  if (stop == INTERRUPTED) {
    log_error ("interrupted: swap stays on with %s in it; run 'vram-swap "
               "down' to continue",
               human (used));
    return EXIT_INTERRUPTED;
  }
  if (stop == FULL || WIFSIGNALED (status)) {
    log_error ("stopped before memory ran out: swap stays on with %s in it",
               human (used));
    return EXIT_REFUSED;
  }
  if (WEXITSTATUS (status) == ENOMEM) {
    log_error (
        "swapoff /dev/nbd%u: refused by the kernel, because programs have "
        "reserved too much memory (vm.overcommit_memory): swap stays on with "
        "%s in it",
        n, human (used));
    return EXIT_REFUSED;
  }
  log_error ("swapoff /dev/nbd%u: %s", n, strerror (WEXITSTATUS (status)));
  return EXIT_FAILED;
}

static int
switch_off (const struct job_order *o)
{
  const long long started = now_ms ();
  const unsigned n = o->attached.device;
  const struct swap *swap;
  char node[64], path[sizeof swap->path];
  int status, fd;
  bool made, err;

  /* This process has to go on while memory is short. */
  memlock_process ();
  for (;;) {
    swap = look (n, &err);
    if (err)
      return EXIT_FAILED;
    if (!swap)
      return EXIT_OK;
    snprintf (path, sizeof path, "%s", swap->path);
    status = make_room (o, path, started);
    if (status == EXIT_OK) {
      made = nbd_open_node (n, node, sizeof node, &fd);
      if (fd != -1)
        close (fd);
      /* What comes back into RAM needs it. If swap stays on, the daemon takes
       * it again.
       */
      spare_give ();
      status = empty (n, node, path, left_on (n, 0));
      if (made)
        unlink (node);
    }
    if (status == EXIT_OK) {
      log_info ("swap is off: /dev/nbd%u", n);
      return EXIT_OK;
    }
    /* Room that was taken meanwhile is waited for. */
    if (status != EXIT_REFUSED || !may_wait (o, started) ||
        !pause_ms (LOOK_MS))
      return status;
  }
}

/* Ends the server of an earlier version of vram-swap by what keeps it, its
 * parent: nothing is attached to it any more.
 */
static void
end_old_version (void)
{
  static const char old_socket[] = "/run/vram-swap/nbd.sock";
  char text[1024];
  const char *at;
  struct server s;
  int parent = 0;

  if (server_probe (old_socket, 1000, &s) != PROBE_OK || s.pid <= 1 ||
      read_text (root_path ("/proc/%ld/stat", (long) s.pid), text,
                 sizeof text) <= 0)
    return;
  at = strrchr (text, ')');
  if (at && sscanf (at + 1, " %*c %d", &parent) == 1 && parent > 1)
    kill (parent, SIGTERM);
  for (unsigned i = 0; i < 600 && kill (s.pid, 0) == 0; i++)
    usleep (100000);
  unlink (old_socket);
}

int
job_down (const void *arg)
{
  const struct job_order *o = arg;
  const struct attachment none = { .device = -1 };
  const int n = o->attached.device;
  int status;

  if (n == -1)
    return EXIT_OK;
  status = switch_off (o);
  if (status != EXIT_OK)
    return status;
  /* Swap is off: what is left to do is done to the end, signal or not. */
  finish_undisturbed ();
  if (nbd_detach (n) == -1)
    return EXIT_FAILED;
  log_info ("detached: /dev/nbd%d", n);
  if (o->server == 0)
    end_old_version ();
  job_tell_attachment (&none);
  return EXIT_OK;
}
