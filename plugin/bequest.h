/* nbdkit-vram: leaves the disk to the server that comes after this one
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_BEQUEST_H
#define VRAM_BEQUEST_H

#include "chunk.h"
#include "state.h"

/* store=auto|yes|no: whether the service manager is handed the disk. */
enum bequest {
  BEQUEST_AUTO, /* where there is one that takes descriptors */
  BEQUEST_YES,  /* or fail */
  BEQUEST_NO,
};

/* Parse VALUE of store=.  Returns 0, or -1 after nbdkit_error. */
extern int bequest_parse (const char *value, enum bequest *mode);

/* Hand STATE and all CHUNKS to the store, and wait until it has them: from then
 * on the disk outlives this process.  Returns 0, or -1 after nbdkit_error; the
 * store then has nothing.
 */
extern int
bequest_make (const struct chunks *chunks, const struct state *state);

/* When the disk is left, by this server or the one before: have the end of the
 * process that started this one be no reason to end the disk.  nbdkit
 * --exit-with-parent, and nbdkit 1.32 always, asks for SIGTERM then, which means
 * that; it becomes SIGKILL.  To be called by the main thread.
 */
extern void bequest_outlive_parent (void);

/* Give the disk up: no server that comes later is to have it, not even when
 * the store does not do as it is told.
 */
extern void bequest_revoke (const struct state *state);

#endif /* VRAM_BEQUEST_H */
