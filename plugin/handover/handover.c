/* nbdkit-vram: leaves the disk to the next server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/log.h"
#include "handover/adopt.h"
#include "handover/handover.h"
#include "handover/fdstore.h"
#include "handover/gpu-node.h"
#include "watchdog.h"

/* Set in the environment of a server that 'vram-swap daemon' has started. */
#define SUPERVISED "VRAM_SWAP_SUPERVISED"

static pid_t parent;

void
handover_load (void)
{
  parent = getppid ();
}

void
handover_put_gpu (const char *pci)
{
  int fd = gpu_node_open (pci);

  if (fd == -1)
    return;
  if (fdstore_put (ADOPT_GPU_NAME, fd) == 0)
    log_debug ("the GPU's device node is kept open between servers");
  close (fd);
}

static int
put_chunk (struct provider *p, const struct chunk *chunk, unsigned number)
{
  char name[ADOPT_NAME_MAX], reason[PROVIDER_REASON];
  int fd, r;

  watchdog_enter ();
  fd = p->f->export(p, chunk, reason);
  watchdog_leave ();
  if (fd == -1) {
    log_error ("cannot export chunk %u: %s", number, reason);
    return -1;
  }
  snprintf (name, sizeof name, ADOPT_CHUNK_NAME, (size_t) number);
  r = fdstore_put (name, fd);
  close (fd);
  return r;
}

static int
check_chunks (void)
{
  return getenv (SUPERVISED) ? fdstore_wait_supervisor () : fdstore_check ();
}

static void
remove_chunk (unsigned number)
{
  char name[ADOPT_NAME_MAX];

  snprintf (name, sizeof name, ADOPT_CHUNK_NAME, (size_t) number);
  fdstore_remove (name);
}

const struct governor_store handover_store = {
  .put = put_chunk,
  .check = check_chunks,
  .remove = remove_chunk,
};

int
handover_put_spill (int fd)
{
  /* Remove the one of an earlier try. */
  if (fdstore_remove (ADOPT_SPILL_NAME) == -1)
    return -1;
  return fdstore_put (ADOPT_SPILL_NAME, fd);
}

int
handover_begin (const struct slots *slots, const struct superblock *superblock)
{
  handover_put_gpu (slots->provider->device.pci);
  for (unsigned i = 0; i < slots->count; ++i)
    if (slots->chunk[i] &&
        put_chunk (slots->provider, slots->chunk[i], i) == -1)
      goto err;
  /* Last, because with the superblock the disk is complete. */
  if (fdstore_put (ADOPT_SUPERBLOCK_NAME, superblock->fd) == -1 ||
      fdstore_wait () == -1)
    goto err;
  /* A supervisor that has set the field keeps the disk. */
  if (atomic_load (&superblock->shared->supervisor) == SUPERVISOR_NONE &&
      fdstore_check () == -1)
    goto err;
  return 0;

err:
  handover_revoke (superblock);
  return -1;
}

int
handover_outlive_parent (void)
{
  int signal_number = 0;

  if (prctl (PR_GET_PDEATHSIG, &signal_number) == -1 || signal_number == 0)
    return 0;
  /* The next supervisor finds this server and takes it over. */
  if (getenv (SUPERVISED)) {
    prctl (PR_SET_PDEATHSIG, 0);
    return 0;
  }
  if (prctl (PR_SET_PDEATHSIG, SIGKILL) == -1) {
    log_error ("PR_SET_PDEATHSIG: %m");
    return -1;
  }
  /* If it had died before, there is no signal. */
  if (getppid () != parent) {
    log_error ("the process that started this server has ended");
    return -1;
  }
  return 0;
}

bool
handover_may_end (const struct superblock *superblock)
{
  return atomic_load (&superblock->shared->ended) != 0 ||
         atomic_load (&superblock->shared->supervisor) != SUPERVISOR_KEEPS;
}

void
handover_revoke (const struct superblock *superblock)
{
  char name[ADOPT_NAME_MAX];

  atomic_store (&superblock->shared->ended, 1);
  if (!fdstore_exists () || fdstore_remove (ADOPT_SUPERBLOCK_NAME) == -1)
    return;
  for (size_t i = 0; i < superblock->header->chunk_count; ++i) {
    snprintf (name, sizeof name, ADOPT_CHUNK_NAME, i);
    if (fdstore_remove (name) == -1)
      return;
  }
  if (superblock->slots && fdstore_remove (ADOPT_SPILL_NAME) == -1)
    return;
  if (fdstore_remove (ADOPT_GPU_NAME) == 0)
    fdstore_wait ();
}
