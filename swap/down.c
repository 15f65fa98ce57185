/* nbdkit-vram: vram-swap down
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attach.h"
#include "capacity.h"
#include "life.h"
#include "msg.h"
#include "nbd-device.h"
#include "progress.h"
#include "root.h"
#include "run.h"
#include "service.h"
#include "swaps.h"
#include "watcher.h"

#define LOOK_MS  1000 /* how often --wait looks again */
#define GUARD_MS 50   /* how often the room is looked at while it shrinks */

static void
say_room (const struct capacity *r, const char *device)
{
  char text[512];

  capacity_explain (r, device, text, sizeof text);
  error ("%s", text);
}

static bool
may_wait (const struct options *o, long long started)
{
  return o->wait && (o->wait_ms < 0 || now_ms () - started < o->wait_ms);
}

/* Is there room for what is swapped to DEVICE, or comes to be with --wait?
 * Returns an exit status.
 */
static int
make_room (const struct options *o, const char *device, long long started)
{
  int64_t in_one_go;
  bool told = false;
  struct capacity r;
  char name[32];

  for (;;) {
    if (capacity_read (&r, device) == -1)
      return EXIT_FAILED;
    if (r.fits)
      return EXIT_OK;
    in_one_go = capacity_in_one_go (r.need, name);
    if (o->force && r.overcommit == 0 && in_one_go <= capacity_total (&r))
      return EXIT_OK;
    if (!told)
      say_room (&r, device);
    if (!o->wait && o->force && r.overcommit == 0) {
      error ("refused, although forced: the kernel would bring back %s of %s "
             "in one go, and programs would be killed",
             human (in_one_go), name);
      return EXIT_REFUSED;
    }
    if (!o->wait) {
      error (r.overcommit > 0
                 ? "refused; end programs, or set vm.overcommit_memory to 0"
                 : "refused; close something, add swap, or say --wait or "
                   "--force");
      return EXIT_REFUSED;
    }
    if (!told && r.need > capacity_total (&r))
      note ("waiting until %s more are free",
            human (r.need - capacity_total (&r)));
    told = true;
    if (!may_wait (o, started)) {
      say_room (&r, device);
      error ("refused after waiting %lld s", o->wait_ms / 1000);
      return EXIT_REFUSED;
    }
    if (!pause_ms (LOOK_MS))
      return EXIT_INTERRUPTED;
  }
}

/* swapoff(2) in a process of its own: the kernel makes whoever calls it the
 * first to be killed when memory runs out, and swap then stays on.  A signal
 * ends the call early, when the process at hand is back, with swap on as
 * before, so that it can be interrupted and run again.
 */
static pid_t
start_swapoff (const char *device, int *result)
{
  int fds[2], err;
  pid_t pid;

  if (pipe2 (fds, O_CLOEXEC) == -1) {
    error ("pipe: %m");
    return -1;
  }
  pid = fork ();
  if (pid == -1) {
    error ("fork: %m");
    close (fds[0]);
    close (fds[1]);
    return -1;
  }
  if (pid == 0) {
    signal (SIGTERM, SIG_DFL);
    /* The terminal's Ctrl-C is for the parent to judge. */
    signal (SIGINT, SIG_IGN);
    signal (SIGHUP, SIG_IGN);
    err = swapoff (device) == -1 ? errno : 0;
    if (write (fds[1], &err, sizeof err) != sizeof err)
      _exit (2);
    _exit (err != 0);
  }
  close (fds[1]);
  *result = fds[0];
  return pid;
}

static int64_t
swapped_to (const char *device, int64_t otherwise)
{
  struct swaps s;
  const struct swap *swap;

  if (swaps_read (&s) == -1)
    return otherwise;
  /* The kernel takes the device out of the list as soon as swapoff begins to
   * end; while pages are left it is in there.
   */
  swap = swaps_find (&s, device);
  return swap ? swap->used : 0;
}

/* Would the next process that is brought back find no room? */
static bool
no_room_left (const char *device)
{
  struct capacity r;
  char name[32];

  return capacity_read (&r, device) == 0 && r.need > 0 &&
         capacity_total (&r) < capacity_in_one_go (r.need, name);
}

/* Empties DEVICE and switches it off.  Stops before memory runs out: the kernel
 * would first kill who calls swapoff, but then others, since what has come back
 * into RAM does not leave it with that.  Returns an exit status.
 */
static int
drain (const char *device, int64_t used)
{
  const long page = sysconf (_SC_PAGESIZE);
  enum { GOES_ON, INTERRUPTED, FULL } stop = GOES_ON;
  struct progress p;
  int result, status = 0, err = 0;
  pid_t pid = start_swapoff (device, &result);

  if (pid == -1)
    return EXIT_FAILED;
  progress_begin (&p, "emptying", "pages", page, used);
  while (waitpid (pid, &status, WNOHANG) == 0) {
    if (stop == GOES_ON) {
      if (interrupted ())
        stop = INTERRUPTED;
      else if (no_room_left (device))
        stop = FULL;
      /* It looks for signals between any two processes. */
      if (stop != GOES_ON)
        kill (pid, SIGTERM);
    }
    used = swapped_to (device, used);
    progress_show (&p, used);
    /* Not pause_ms, which does not wait any more after a signal. */
    usleep (GUARD_MS * 1000);
  }
  used = swapped_to (device, used);
  progress_end (&p, used);

  if (read (result, &err, sizeof err) != sizeof err)
    err = EINTR;
  close (result);

  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return EXIT_OK;
  if (stop == INTERRUPTED) {
    error ("interrupted: swap stays on with %s in it; run it again to go on",
           human (used));
    return EXIT_INTERRUPTED;
  }
  if (stop == FULL || WIFSIGNALED (status) || err == ENOMEM) {
    error ("stopped before memory runs out: swap stays on with %s in it",
           human (used));
    return EXIT_REFUSED;
  }
  error ("swapoff %s: %s", device, strerror (err));
  return EXIT_FAILED;
}

/* Nothing that we do may need memory which swap would have to provide. */
static void
stay_resident (void)
{
  const char *path = root_path ("/proc/self/oom_score_adj");
  int fd = open (path, O_WRONLY | O_CLOEXEC);

  /* Neither is needed to go on. */
  mlockall (MCL_CURRENT | MCL_FUTURE);
  if (fd != -1) {
    if (write (fd, "-1000", 5) != 5)
      warning ("%s: %m", path);
    close (fd);
  }
}

bool
swap_is_on (const struct state *st, bool *on, int64_t *used)
{
  const struct swap *swap = NULL;
  int n = state_device (st);
  struct swaps s;
  char device[32];

  if (n >= 0) {
    snprintf (device, sizeof device, "/dev/nbd%d", n);
    if (swaps_read (&s) == -1)
      return false;
    swap = swaps_find (&s, device);
  }
  *on = swap != NULL;
  if (used)
    *used = swap ? swap->used : 0;
  return true;
}

int
take_down (const struct options *o, struct state *st)
{
  const long long started = now_ms ();
  const struct swap *swap;
  int n = state_device (st), status;
  struct swaps s;
  char device[32];

  if (n >= 0) {
    snprintf (device, sizeof device, "/dev/nbd%d", n);
    if (swaps_read (&s) == -1)
      return EXIT_FAILED;
    swap = swaps_find (&s, device);
    if (swap) {
      stay_resident ();
      do {
        status = make_room (o, device, started);
        if (status == EXIT_OK)
          status = drain (device, swapped_to (device, swap->used));
        /* With --wait, room that was taken meanwhile is waited for. */
      } while (status == EXIT_REFUSED && may_wait (o, started) &&
               pause_ms (LOOK_MS));
      if (status != EXIT_OK)
        return status;
      note ("swap is off: %s", device);
    }
  }

  /* Swap is off: what is left to do is done to the end, signal or not. */
  finish_undisturbed ();
  st->paused = o->pause;
  watcher_stop (st);
  if (attach_clean (st) == -1)
    return EXIT_FAILED;
  if (n >= 0)
    note ("detached: %s", device);
  if (state_write (st) == -1)
    return EXIT_FAILED;
  if (!o->keep_server && service_stop (st) == -1)
    return EXIT_FAILED;
  return EXIT_OK;
}

int
cmd_down (struct options *o)
{
  unsigned patience = 10;
  int lock, status;
  struct state st;

  /* A unit's stop that fails is not tried again. */
  if (service_stops_unit () || (o->wait && o->wait_ms < 0))
    patience = 1800;
  else if (o->wait && o->wait_ms / 1000 > patience)
    patience = o->wait_ms / 1000;
  lock = state_lock (patience);
  if (lock == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  state_read (&st);
  if (state_device (&st) == -1)
    note ("swap is not on");
  status = take_down (o, &st);
  close (lock);
  return status;
}
