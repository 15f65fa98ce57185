/* nbdkit-vram: tests what vram-swap remembers from one call to the next, and of outages
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "outage.h"
#include "root.h"
#include "state.h"
#include "test.h"

#define STATE   "/run/vram-swap.state"
#define OUTAGES "/run/vram-swap.outages"

static void
put (const char *path, const char *text)
{
  test_write (root_path ("%s", path), text);
}

static void
make_folder (const char *path)
{
  CHECK (mkdir (root_path ("%s", path), 0755) == 0);
}

/* Every field, with values that fit nothing smaller. */
static void
test_all_fields (void)
{
  struct state st = {
    .device = 12,
    .attach_pid = 4194303,
    .connections = 4294967295U,
    .timeout = 3000000000U,
    .server_pid = 4194302,
    .server_started = INT64_C (0x123456789abcdef),
    .watcher_pid = 4194301,
    .watcher_started = INT64_C (0x123456789abcdee),
    .since = INT64_C (0x123456789abcded),
    .empty_since = INT64_C (0x123456789abcdec),
  };
  struct state back;
  struct stat file;
  mode_t mask;

  for (unsigned why = PAUSED_NO; why <= PAUSED_IDLE; why++) {
    st.paused = why;
    st.awake = why == PAUSED_SLEEP;
    CHECK (state_write (&st) == 0);
    memset (&back, 0x55, sizeof back);
    state_read (&back);
    CHECK (back.device == st.device);
    CHECK (back.attach_pid == st.attach_pid);
    CHECK (back.connections == st.connections);
    CHECK (back.timeout == st.timeout);
    CHECK (back.server_pid == st.server_pid);
    CHECK (back.server_started == st.server_started);
    CHECK (back.watcher_pid == st.watcher_pid);
    CHECK (back.watcher_started == st.watcher_started);
    CHECK (back.since == st.since);
    CHECK (back.empty_since == st.empty_since);
    CHECK (back.paused == st.paused);
    CHECK (back.awake == st.awake);
  }
  /* The server's user reads it, too. */
  mask = umask (0077);
  CHECK (state_write (&st) == 0);
  umask (mask);
  CHECK (stat (root_path (STATE), &file) == 0);
  CHECK ((file.st_mode & 0777) == 0644);
  CHECK (strcmp (paused_name (PAUSED_NO), "no") == 0);
  CHECK (strcmp (paused_name (PAUSED_IDLE), "idle") == 0);
  /* Nothing else is left there. */
  CHECK (!file_exists (root_path (STATE ".new")));
}

/* All defaults. */
static bool
is_nothing (const struct state *st)
{
  return st->device == -1 && st->attach_pid == 0 && st->connections == 0 &&
         st->timeout == 0 && st->server_pid == 0 && st->server_started == 0 &&
         st->watcher_pid == 0 && st->watcher_started == 0 && st->since == 0 &&
         st->empty_since == 0 && st->paused == PAUSED_NO && !st->awake;
}

/* What was written by another version, cut off, or is no state at all. */
static void
test_damaged (void)
{
  static const char *const nothing[] = {
    "",
    "\n",
    "\n\n\n",
    "=",
    "===\n=1\n",
    "device",
    "devices=3\n",
    "paused=never\n",
    "paused=\n",
    "paused=power \n",
    "unknown=1\n",
    "DEVICE=3\n",
    " device=3\n",
    "attach_pid\n",
  };
  struct state st;
  char large[3000];

  unlink (root_path (STATE));
  memset (&st, 0x55, sizeof st);
  state_read (&st);
  CHECK (is_nothing (&st));
  for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
    put (STATE, nothing[i]);
    memset (&st, 0x55, sizeof st);
    state_read (&st);
    if (!is_nothing (&st)) {
      fprintf (stderr, "'%s' is not nothing\n", nothing[i]);
      failures++;
    }
  }

  put (STATE, "unknown=7\ndevice=3\ngarbage\nwatcher_pid=12\npaused=sleep");
  state_read (&st);
  CHECK (st.device == 3 && st.watcher_pid == 12 && st.paused == PAUSED_SLEEP);

  memset (large, 'x', sizeof large);
  memcpy (large, "device=5\n", 9);
  large[sizeof large - 1] = '\0';
  put (STATE, large);
  state_read (&st);
  CHECK (st.device == 5 && st.attach_pid == 0);
  unlink (root_path (STATE));
}

/* The device is ours only while the same process has it attached. */
static void
test_device (void)
{
  struct state st = { .device = 0, .attach_pid = 77 };

  CHECK (state_device (&st) == -1);
  make_folder ("/sys");
  make_folder ("/sys/block");
  make_folder ("/sys/block/nbd0");
  CHECK (state_device (&st) == -1);
  put ("/sys/block/nbd0/pid", "77\n");
  CHECK (state_device (&st) == 0);
  st.attach_pid = 78;
  CHECK (state_device (&st) == -1);
  st = (struct state){ .device = -1, .attach_pid = 77 };
  CHECK (state_device (&st) == -1);
}

/* One at a time; who ends lets go of it. */
static void
test_lock (void)
{
  int fd = state_lock (0), status = -1, ends[2];
  char byte;
  pid_t child;

  CHECK (fd != -1);
  CHECK (fcntl (fd, F_GETFD) & FD_CLOEXEC);
  CHECK (state_lock (0) == -1);
  close (fd);
  fd = state_lock (0);
  CHECK (fd != -1);
  close (fd);

  /* Waits for another process, which has it and then dies. */
  CHECK (pipe (ends) == 0);
  child = fork ();
  if (child == 0) {
    fd = state_lock (0);
    if (fd == -1 || write (ends[1], "x", 1) != 1)
      _exit (1);
    usleep (300 * 1000);
    _exit (0);
  }
  CHECK (read (ends[0], &byte, 1) == 1);
  fd = state_lock (60);
  CHECK (fd != -1);
  CHECK (waitpid (child, &status, 0) == child && status == 0);
  close (fd);
  close (ends[0]);
  close (ends[1]);
}

static void
test_outages (void)
{
  static const char *const nothing[] = {
    "",
    "count=",
    "count=1\nlast_ms=2\nlongest_ms=3\n",
    "count=1\nlast_ms=2\nlongest_ms=3\nlast_at=x\n",
    "count=1\nlast_ms=2\nlongest_ms=3\ndisk=00\nlast_at=1\n",
    "last_ms=2\ncount=1\nlongest_ms=3\nlast_at=4\n",
  };
  struct outages o = { .count = INT64_MAX,
                       .last_ms = 1,
                       .longest_ms = INT64_C (0x123456789ab),
                       .last_at = INT64_C (0x123456789abcd) };
  struct outages back = { .count = 0 };

  CHECK (!outages_read (&back));
  outages_write (&o);
  CHECK (outages_read (&back));
  CHECK (back.count == o.count && back.last_ms == o.last_ms);
  CHECK (back.longest_ms == o.longest_ms && back.last_at == o.last_at);
  CHECK (strcmp (back.disk, "") == 0);
  o.count = 0;
  o.longest_ms = 77;
  strcpy (o.disk, "0123456789abcdef0123456789abcdef");
  outages_write (&o);
  CHECK (outages_read (&back));
  CHECK (back.count == 0 && back.longest_ms == 77);
  CHECK (strcmp (back.disk, o.disk) == 0);
  /* What an older version has written. */
  put (OUTAGES, "count=1\nlast_ms=2\nlongest_ms=3\nlast_at=4\n");
  CHECK (outages_read (&back) && back.last_at == 4 && back.disk[0] == '\0');
  for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
    put (OUTAGES, nothing[i]);
    if (outages_read (&back)) {
      fprintf (stderr, "'%s' is no outage\n", nothing[i]);
      failures++;
    }
  }
}

/* Where nothing can be written. */
static void
test_no_folder (const char *folder)
{
  const struct outages o = { .count = 1 };
  const struct state st = { .device = 1 };
  struct outages back;

  root_prefix = "/dev/null";
  CHECK (state_write (&st) == -1);
  CHECK (state_lock (0) == -1);
  outages_write (&o);
  CHECK (!outages_read (&back));
  root_prefix = folder;
}

static void
remove_all (void)
{
  static const char *const paths[] = {
    OUTAGES,
    "/run/vram-swap.lock",
    "/run",
    "/proc/swaps",
    "/proc",
    "/sys/block/nbd0/pid",
    "/sys/block/nbd0",
    "/sys/block",
    "/sys",
    "",
  };

  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
    CHECK (remove (root_path ("%s", paths[i])) == 0);
}

int
main (void)
{
  const char *folder = test_folder ();

  root_prefix = folder;
  make_folder ("/run");
  make_folder ("/proc");
  put ("/proc/swaps", "Filename Type Size Used Priority\n");
  test_all_fields ();
  test_damaged ();
  test_device ();
  test_lock ();
  test_outages ();
  test_no_folder (folder);
  remove_all ();
  FINISH;
}
