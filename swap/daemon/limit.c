/* nbdkit-vram: how much VRAM the server may hold at this moment
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>

#include "capacity.h"
#include "disk/superblock.h"
#include "limit.h"

int64_t
limit_now (const struct daemon *d)
{
  const bool configured = d->st.limit == LIMIT_CONFIGURED;
  int64_t limit = d->st.limit;
  bool held = false;

  if (configured)
    limit = conf_is (d->conf, CONF_LIMIT, "max")
                ? INT64_MAX
                : conf_number (d->conf, CONF_LIMIT);
  for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
    const struct client *client = &d->control.client[i];

    if (client->fd != -1 && client->holds && client->limit < limit) {
      limit = client->limit;
      held = true;
    }
  }
  return configured && !held ? LIMIT_CONFIGURED : limit;
}

void
limit_apply (struct daemon *d)
{
  descriptors_limit (&d->server.kept, limit_now (d));
}

/* Why a limit of SIZE bytes cannot be reached, or NULL. */
static const char *
find_obstacle (const struct daemon *d, int64_t size)
{
  static char text[400];
  const struct superblock_shared *shared =
      descriptors_shared (&d->server.kept);
  int64_t least;

  if (!shared)
    return "no disk to limit: swap is off";
  if (atomic_load (&shared->elastic) != ELASTIC_YES) {
    snprintf (text, sizeof text, "the disk is not elastic%s%s",
              shared->elastic_reason[0] ? ": " : "; set elastic = yes",
              shared->elastic_reason);
    return text;
  }
  least = descriptors_least (&d->server.kept);
  if (size == LIMIT_CONFIGURED || size >= least)
    return NULL;
  snprintf (
      text, sizeof text,
      "cannot limit VRAM to %s: %s of it hold swapped data that cannot be "
      "moved: %s; set a higher limit",
      human (size), human (least),
      shared->spill_reason[0] ? shared->spill_reason : "no spill file");
  return text;
}

void
limit_request (struct daemon *d, struct client *client,
               const struct json_t *request)
{
  const char *why;
  const bool hold = json_flag (request, "hold");
  int64_t size;

  if (!json_get_number (request, "size", &size) || size < LIMIT_CONFIGURED) {
    control_answer (client, EXIT_USAGE, "'size' is missing");
    return;
  }
  if (!hold && !client->root) {
    control_answer (client, EXIT_FAILED, "only root may do that");
    return;
  }
  why = find_obstacle (d, size);
  if (hold) {
    /* It gets as much as there is: it says itself what is missing. */
    client->holds = size >= 0;
    client->limit = size;
  }
  else if (why) {
    control_answer (client, EXIT_REFUSED, why);
    return;
  }
  else {
    d->st.limit = size;
    runstate_write (&d->st);
  }
  limit_apply (d);
  control_answer (client, EXIT_OK, NULL);
}
