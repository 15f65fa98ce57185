/* nbdkit-vram: takes over the disk of an earlier server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "handover/adopt.h"
#include "handover/fdstore.h"

/* Where to store the descriptor called NAME, or NULL. */
static int *
place_of (struct adopt *adopt, const char *name)
{
  char expected[ADOPT_NAME_MAX];

  if (strcmp (name, ADOPT_SUPERBLOCK_NAME) == 0)
    return &adopt->superblock;
  if (strcmp (name, ADOPT_GPU_NAME) == 0)
    return &adopt->gpu;
  if (strcmp (name, ADOPT_SPILL_NAME) == 0)
    return &adopt->spill;
  /* Left by a server that died in fdstore_check. */
  if (strcmp (name, FDSTORE_PROBE_NAME) == 0)
    return &adopt->probe;
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
    log_error (
        "adopt=...%s: expected FD:NAME, with the number of an open descriptor",
        item);
    return -1;
  }
  place = place_of (adopt, end + 1);
  if (place == NULL) {
    log_error ("adopt=...%s: unknown name; expected " ADOPT_SUPERBLOCK_NAME
               " or " ADOPT_CHUNK_NAME " and so on",
               item, (size_t) 0);
    return -1;
  }
  if (*place != -1) {
    log_error ("adopt=...%s: the name is given twice", item);
    return -1;
  }
  if (fcntl ((int) fd, F_SETFD, FD_CLOEXEC) == -1) {
    log_error ("adopt=...%s: %m", item);
    return -1;
  }
  *place = (int) fd;
  if (place >= adopt->chunk && place < adopt->chunk + CHUNKS_MAX)
    adopt->chunks++;
  return 0;
}

int
adopt_parse (const char *value, struct adopt *adopt)
{
  char *copy = strdup (value), *item, *rest = copy;
  int r = -1;

  if (copy == NULL) {
    log_error ("strdup: %m");
    return -1;
  }
  adopt->wanted = true;
  adopt->superblock = adopt->gpu = adopt->probe = adopt->spill = -1;
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

static void
close_one (int *fd)
{
  if (*fd != -1)
    close (*fd);
  *fd = -1;
}

/* Returns 0, or -1 after log_error. */
static int
check_all_chunks (const struct adopt *adopt,
                  const struct superblock_header *header)
{
  for (size_t i = 0; i < header->chunk_count; ++i)
    if (adopt->chunk[i] == -1) {
      log_error ("adopt: the disk cannot be taken over: chunk %zu of %u is "
                 "missing",
                 i, header->chunk_count);
      return -1;
    }
  if (adopt->chunks == header->chunk_count)
    return 0;
  log_error ("adopt: the disk cannot be taken over: it has %u chunks, not %zu",
             header->chunk_count, adopt->chunks);
  return -1;
}

/* An elastic disk needs the chunks that its slots name.  The other chunks hold
 * no data, and may be missing in the store, so they are closed.  Returns 0, or
 * -1 after log_error.
 */
static int
check_named_chunks (struct adopt *adopt, const struct superblock *superblock)
{
  bool named[CHUNKS_MAX] = { false };
  uint64_t word;

  for (unsigned i = 0; i < superblock->header->chunk_count; ++i) {
    word = atomic_load (&superblock->slots[i]);
    if (SLOT_STATE (word) == SLOT_SPILL && adopt->spill == -1) {
      log_error ("adopt: the disk cannot be taken over: the spill file, which "
                 "slot %u of %u is in, is missing",
                 i, superblock->header->chunk_count);
      return -1;
    }
    if (SLOT_STATE (word) != SLOT_VRAM)
      continue;
    named[SLOT_CHUNK (word)] = true;
    if (adopt->chunk[SLOT_CHUNK (word)] == -1) {
      log_error ("adopt: the disk cannot be taken over: chunk %u, which slot "
                 "%u of %u is in, is missing",
                 SLOT_CHUNK (word), i, superblock->header->chunk_count);
      return -1;
    }
  }
  for (unsigned i = 0; i < CHUNKS_MAX; ++i)
    if (!named[i])
      close_one (&adopt->chunk[i]);
  return 0;
}

int
adopt_open (struct adopt *adopt, struct superblock *superblock)
{
  int fd = adopt->superblock;

  if (fd == -1) {
    log_error ("adopt: the disk cannot be taken over: its "
               "superblock, " ADOPT_SUPERBLOCK_NAME ", is missing");
    return -1;
  }
  adopt->superblock = -1;
  if (superblock_open (superblock, fd) == -1)
    return -1;

  if (superblock->slots ? check_named_chunks (adopt, superblock)
                        : check_all_chunks (adopt, superblock->header))
    goto err;
  return 0;

err:
  superblock_close (superblock);
  return -1;
}

void
adopt_close (struct adopt *adopt)
{
  if (!adopt->wanted)
    return;
  close_one (&adopt->superblock);
  close_one (&adopt->gpu);
  close_one (&adopt->probe);
  close_one (&adopt->spill);
  for (size_t i = 0; i < CHUNKS_MAX; ++i)
    close_one (&adopt->chunk[i]);
}
