/* nbdkit-vram: leaves the disk to the server that comes after this one
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "adopt.h"
#include "bequest.h"
#include "cuda.h"
#include "store.h"

static pid_t parent;

void
bequest_begin (void)
{
  const char *keeper = getenv ("VRAM_SWAP_KEEPER");

  /* The process above this one may be another already. */
  parent = keeper ? (pid_t) strtol (keeper, NULL, 10) : getppid ();
}

int
bequest_parse (const char *value, enum bequest *mode)
{
  int r;

  if (strcmp (value, "auto") == 0) {
    *mode = BEQUEST_AUTO;
    return 0;
  }
  r = nbdkit_parse_bool (value);
  if (r == -1)
    return -1;
  *mode = r ? BEQUEST_YES : BEQUEST_NO;
  return 0;
}

static int
put_chunk (const struct chunks *chunks, size_t i)
{
  char name[ADOPT_NAME_MAX];
  CUresult error;
  int fd, r;

  fd = chunk_export (chunks, i, &error);
  if (fd == -1) {
    nbdkit_error ("VRAM cannot be exported: " CUDA_WORDS,
                  CUDA_WORDS_ARGS (error));
    return -1;
  }
  snprintf (name, sizeof name, ADOPT_CHUNK_NAME, i);
  r = store_put (name, fd);
  close (fd);
  return r;
}

int
bequest_make (const struct chunks *chunks, const struct state *state)
{
  for (size_t i = 0; i < chunks->count; ++i)
    if (put_chunk (chunks, i) == -1)
      goto err;
  /* Last: with this one the disk is complete. */
  if (store_put (ADOPT_STATE_NAME, state->fd) == -1 || store_wait () == -1)
    goto err;
  return 0;

err:
  bequest_revoke (state);
  return -1;
}

int
bequest_outlive_parent (void)
{
  int signal_number = 0;

  if (prctl (PR_GET_PDEATHSIG, &signal_number) == -1 || signal_number == 0)
    return 0;
  if (prctl (PR_SET_PDEATHSIG, SIGKILL) == -1) {
    nbdkit_error ("PR_SET_PDEATHSIG: %m");
    return -1;
  }
  /* One that had died already sends no signal any more. */
  if (getppid () != parent) {
    nbdkit_error ("the process that started this server has ended");
    return -1;
  }
  return 0;
}

bool
bequest_may_end (const struct state *state)
{
  return atomic_load (&state->words->ended) != 0 ||
         atomic_load (&state->words->keeper) != STATE_KEEPER_KEEPS;
}

void
bequest_revoke (const struct state *state)
{
  char name[ADOPT_NAME_MAX];

  atomic_store (&state->words->ended, 1);
  if (!store_exists () || store_remove (ADOPT_STATE_NAME) == -1)
    return;
  for (size_t i = 0; i < state->header->chunk_count; ++i) {
    snprintf (name, sizeof name, ADOPT_CHUNK_NAME, i);
    if (store_remove (name) == -1)
      return;
  }
  store_wait ();
}
