/* nbdkit-vram: what vram-swap remembers from one call to the next
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "msg.h"
#include "nbd-device.h"
#include "root.h"
#include "run.h"
#include "state.h"
#include "swaps.h"

#define STATE "/run/vram-swap.state"
#define LOCK  "/run/vram-swap.lock"

static const char *const paused_names[] = { "no", "power", "sleep", "idle" };

const char *
paused_name (enum paused why)
{
  return paused_names[why];
}

static void
take (struct state *st, const char *name, const char *value)
{
  int64_t n = strtoll (value, NULL, 10);

  if (strcmp (name, "device") == 0)
    st->device = n;
  else if (strcmp (name, "attach_pid") == 0)
    st->attach_pid = n;
  else if (strcmp (name, "connections") == 0)
    st->connections = n;
  else if (strcmp (name, "timeout") == 0)
    st->timeout = n;
  else if (strcmp (name, "server_pid") == 0)
    st->server_pid = n;
  else if (strcmp (name, "server_started") == 0)
    st->server_started = n;
  else if (strcmp (name, "watcher_pid") == 0)
    st->watcher_pid = n;
  else if (strcmp (name, "watcher_started") == 0)
    st->watcher_started = n;
  else if (strcmp (name, "since") == 0)
    st->since = n;
  else if (strcmp (name, "empty_since") == 0)
    st->empty_since = n;
  else if (strcmp (name, "awake") == 0)
    st->awake = n != 0;
  else if (strcmp (name, "paused") == 0)
    for (unsigned i = 0; i < sizeof paused_names / sizeof paused_names[0]; i++)
      if (strcmp (value, paused_names[i]) == 0)
        st->paused = i;
}

/* A device that swap is on and that is ours by its label. */
static void
adopt (struct state *st)
{
  struct swaps s;
  unsigned n;
  pid_t pid;

  if (swaps_read (&s) == -1)
    return;
  for (size_t i = 0; i < s.n; i++)
    if (sscanf (s.swap[i].path, "/dev/nbd%u", &n) == 1 &&
        nbd_attached_by (n, &pid) && swap_has_label (s.swap[i].path)) {
      st->device = n;
      st->attach_pid = pid;
      st->connections = nbd_connections (n);
      return;
    }
}

static void
read_file (struct state *st)
{
  char text[1024], *line, *next, *value;

  if (read_text (root_path (STATE), text, sizeof text) == -1)
    return;
  for (line = text; line; line = next) {
    next = strchr (line, '\n');
    if (next)
      *next++ = '\0';
    value = strchr (line, '=');
    if (value) {
      *value++ = '\0';
      take (st, line, value);
    }
  }
}

void
state_read (struct state *st)
{
  *st = (struct state){ .device = -1 };
  read_file (st);
  if (state_device (st) == -1)
    adopt (st);
}

int
state_write (const struct state *st)
{
  const char *path = root_path (STATE);
  char text[1024];

  snprintf (text, sizeof text,
            "device=%d\n"
            "attach_pid=%ld\n"
            "connections=%u\n"
            "timeout=%u\n"
            "server_pid=%ld\n"
            "server_started=%" PRId64 "\n"
            "watcher_pid=%ld\n"
            "watcher_started=%" PRId64 "\n"
            "since=%" PRId64 "\n"
            "empty_since=%" PRId64 "\n"
            "paused=%s\n"
            "awake=%d\n",
            st->device, (long) st->attach_pid, st->connections, st->timeout,
            (long) st->server_pid, st->server_started, (long) st->watcher_pid,
            st->watcher_started, st->since, st->empty_since,
            paused_names[st->paused], st->awake);
  if (write_text (path, text) == -1) {
    error ("%s: %m", path);
    return -1;
  }
  return 0;
}

int
state_lock (unsigned seconds)
{
  const char *path = root_path (LOCK);
  long long deadline = now_ms () + seconds * 1000LL;
  int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

  if (fd == -1) {
    error ("%s: %m", path);
    return -1;
  }
  while (flock (fd, LOCK_EX | LOCK_NB) == -1) {
    if (errno != EWOULDBLOCK) {
      error ("%s: %m", path);
      goto err;
    }
    if (now_ms () >= deadline) {
      error ("another vram-swap is at work (it holds %s)", path);
      goto err;
    }
    if (!pause_ms (100))
      goto err;
  }
  return fd;

err:
  close (fd);
  return -1;
}

int
state_device (const struct state *st)
{
  pid_t pid;

  if (st->device < 0 || !nbd_attached_by (st->device, &pid) ||
      pid != st->attach_pid)
    return -1;
  return st->device;
}
