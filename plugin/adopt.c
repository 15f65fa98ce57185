/* nbdkit-vram: takes over the disk of a server that is gone
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "adopt.h"

/* The place for the descriptor that is called NAME, or NULL. */
static int *
place_of (struct adopt *adopt, const char *name)
{
  char expected[ADOPT_NAME_MAX];

  if (strcmp (name, ADOPT_STATE_NAME) == 0)
    return &adopt->state;
  for (size_t i = 0; i < CHUNKS_MAX; ++i) {
    snprintf (expected, sizeof expected, ADOPT_CHUNK_NAME, i);
    if (strcmp (name, expected) == 0)
      return &adopt->chunk[i];
  }
  return NULL;
}

/* One "FD:NAME". */
static int
parse_one (const char *item, struct adopt *adopt)
{
  char *end;
  long fd = strtol (item, &end, 10);
  int *place;

  if (end == item || *end != ':' || fd < 3 || fd > 65535) {
    nbdkit_error ("adopt=...%s: wanted FD:NAME, with the number of an open "
                  "descriptor",
                  item);
    return -1;
  }
  place = place_of (adopt, end + 1);
  if (place == NULL) {
    nbdkit_error ("adopt=...%s: it is called " ADOPT_STATE_NAME
                  " or " ADOPT_CHUNK_NAME " and so on",
                  item, (size_t) 0);
    return -1;
  }
  if (*place != -1) {
    nbdkit_error ("adopt=...%s: there are two of that name", item);
    return -1;
  }
  if (fcntl ((int) fd, F_SETFD, FD_CLOEXEC) == -1) {
    nbdkit_error ("adopt=...%s: %m", item);
    return -1;
  }
  *place = (int) fd;
  if (place != &adopt->state)
    adopt->chunks++;
  return 0;
}

int
adopt_parse (const char *value, struct adopt *adopt)
{
  char *copy = strdup (value), *item, *rest = copy;
  int r = -1;

  if (copy == NULL) {
    nbdkit_error ("strdup: %m");
    return -1;
  }
  if (adopt->wanted) {
    nbdkit_error ("adopt= is there twice");
    goto out;
  }
  adopt->wanted = true;
  adopt->state = -1;
  for (size_t i = 0; i < CHUNKS_MAX; ++i)
    adopt->chunk[i] = -1;
  while ((item = strsep (&rest, ",")) != NULL)
    if (parse_one (item, adopt) == -1)
      goto out;
  r = 0;

out:
  free (copy);
  return r;
}

int
adopt_open (struct adopt *adopt, struct state *state)
{
  int fd = adopt->state;

  if (fd == -1) {
    nbdkit_error ("adopt: the disk cannot be taken over: its "
                  "state, " ADOPT_STATE_NAME ", is missing");
    return -1;
  }
  adopt->state = -1;
  if (state_open (state, fd) == -1)
    return -1;

  for (size_t i = 0; i < state->header->chunk_count; ++i)
    if (adopt->chunk[i] == -1) {
      nbdkit_error ("adopt: the disk cannot be taken over: chunk %zu of %u is "
                    "missing",
                    i, state->header->chunk_count);
      goto err;
    }
  if (adopt->chunks != state->header->chunk_count) {
    nbdkit_error ("adopt: the disk cannot be taken over: it has %u chunks, not "
                  "%zu",
                  state->header->chunk_count, adopt->chunks);
    goto err;
  }
  return 0;

err:
  state_close (state);
  return -1;
}

void
adopt_close (struct adopt *adopt)
{
  if (!adopt->wanted)
    return;
  if (adopt->state != -1)
    close (adopt->state);
  adopt->state = -1;
  for (size_t i = 0; i < CHUNKS_MAX; ++i) {
    if (adopt->chunk[i] != -1)
      close (adopt->chunk[i]);
    adopt->chunk[i] = -1;
  }
}
