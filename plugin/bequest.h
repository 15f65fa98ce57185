/* nbdkit-vram: leaves the disk to the server that comes after this one
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_BEQUEST_H
#define VRAM_BEQUEST_H

#include <stdbool.h>

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

/* To be called when the plugin is loaded, for bequest_outlive_parent: who has
 * started this server.  'vram-swap serve' gives its process in VRAM_SWAP_KEEPER,
 * for it may have ended by then.
 */
extern void bequest_begin (void);

/* When the disk is left, by this server or the one before: have the end of the
 * process that started this one be no reason to end the disk.  nbdkit
 * --exit-with-parent, and nbdkit 1.32 always, asks for SIGTERM then, which may
 * mean that; it becomes SIGKILL.  To be called by the main thread, and before
 * nbdkit catches SIGTERM when the disk exists by then.  Returns 0, or -1 after
 * nbdkit_error when that process has ended already.
 */
extern int bequest_outlive_parent (void);

/* Whether a server that is told to end may end the disk, too.  Who keeps it is
 * the one to say so; where that is somebody who does not say anything (see
 * enum state_keeper), any signal to end means it.
 */
extern bool bequest_may_end (const struct state *state);

/* Give the disk up: no server that comes later is to have it, not even when
 * the store does not do as it is told.
 */
extern void bequest_revoke (const struct state *state);

#endif /* VRAM_BEQUEST_H */
