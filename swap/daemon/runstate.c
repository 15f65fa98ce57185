/* nbdkit-vram: what outlives the daemon, in one file in /run
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "msg.h"
#include "nbd-device.h"
#include "root.h"
#include "runstate.h"

#define STATE_FILE RUN_FOLDER "/state"

/* Of the version that had no daemon. */
#define OLD_STATE_FILE "/run/vram-swap.state"

/* Fields that are texts, or numbers of 32 or 64 bits, by name in the file. */
static const struct field {
  const char *name;
  bool text;
  size_t at, size;
} fields[] = {
#define FIELD(text, name)                                                     \
  {                                                                           \
#name, text, offsetof(struct runstate, name),                             \
        sizeof((struct runstate *) 0)->name                                   \
  }
  FIELD (true, reason),
  FIELD (false, device),
  FIELD (false, attach_pid),
  FIELD (false, connections),
  FIELD (false, timeout),
  FIELD (false, size),
  FIELD (true, disk),
  FIELD (false, since),
  FIELD (false, limit),
  FIELD (false, outages),
  FIELD (false, outage_last_ms),
  FIELD (false, outage_longest_ms),
  FIELD (false, outage_at),
  FIELD (true, init_swap_max),
#undef FIELD
};
#define FIELDS (sizeof fields / sizeof fields[0])

static void
take (struct runstate *st, const char *name, const char *value)
{
  const int64_t n = strtoll (value, NULL, 10);

  if (strcmp (name, "state") == 0)
    state_find (value, &st->state);
  else if (strcmp (name, "cause") == 0)
    cause_find (value, &st->cause);
  for (size_t i = 0; i < FIELDS; i++) {
    void *at = (char *) st + fields[i].at;

    if (strcmp (name, fields[i].name) != 0)
      continue;
    if (fields[i].text)
      snprintf (at, fields[i].size, "%s", value);
    else if (fields[i].size == sizeof n)
      *(int64_t *) at = n;
    else
      *(int32_t *) at = n;
  }
}

void
runstate_reset (struct runstate *st)
{
  *st = (struct runstate){ .device = -1, .limit = LIMIT_CONFIGURED };
}

static bool
read_from (const char *file, struct runstate *st)
{
  char text[2048], *line, *next, *value;

  runstate_reset (st);
  if (read_text (root_path ("%s", file), text, sizeof text) == -1)
    return false;
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
  return true;
}

bool
runstate_read (struct runstate *st)
{
  return read_from (STATE_FILE, st);
}

bool
runstate_read_old (struct runstate *st)
{
  /* With other lines, but the same names for what is attached. */
  return read_from (OLD_STATE_FILE, st);
}

int
runstate_write (const struct runstate *st)
{
  const char *path = root_path (STATE_FILE);
  char text[2048];
  size_t used;

  used = snprintf (text, sizeof text, "state=%s\ncause=%s\n",
                   state_name (st->state), cause_name (st->cause));
  for (size_t i = 0; i < FIELDS; i++) {
    const void *at = (const char *) st + fields[i].at;

    used += snprintf (text + used, sizeof text - used, "%s=", fields[i].name);
    if (fields[i].text)
      used += snprintf (text + used, sizeof text - used, "%s\n",
                        (const char *) at);
    else
      used += snprintf (text + used, sizeof text - used, "%" PRId64 "\n",
                        fields[i].size == sizeof (int64_t)
                            ? *(const int64_t *) at
                            : *(const int32_t *) at);
  }
  if (write_text (path, text) == -1) {
    log_error ("%s: %m", path);
    return -1;
  }
  return 0;
}

int
runstate_device (const struct runstate *st)
{
  pid_t pid;

  if (st->device < 0 || !nbd_attached_by (st->device, &pid) ||
      pid != st->attach_pid)
    return -1;
  return st->device;
}

bool
runstate_find_device (struct runstate *st, int64_t size)
{
  static struct swaps s;
  char path[32];
  unsigned n;
  pid_t pid;

  if (swaps_read (&s) == -1)
    return false;
  for (size_t i = 0; i < s.n; i++) {
    if (sscanf (s.swap[i].path, "/dev/nbd%u", &n) != 1 &&
        sscanf (s.swap[i].path, "/nbd%u", &n) != 1)
      continue;
    snprintf (path, sizeof path, "/dev/nbd%u", n);
    /* Without a server the label cannot be read. */
    if (nbd_attached_by (n, &pid) &&
        ((size > 0 && nbd_size (n) == size) || swap_has_label (path))) {
      st->device = n;
      st->attach_pid = pid;
      st->connections = nbd_connections (n);
      st->size = nbd_size (n);
      return true;
    }
  }
  return false;
}
