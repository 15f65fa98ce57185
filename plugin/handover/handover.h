/* nbdkit-vram: leaves the disk to the server that comes after this one
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_HANDOVER_H
#define VRAM_HANDOVER_H

#include <stdbool.h>

#include "disk/slots.h"
#include "disk/superblock.h"

/* handover=auto|yes|no: whether the service manager is given the disk. */
enum handover {
  HANDOVER_AUTO, /* where there is one that keeps descriptors */
  HANDOVER_YES,  /* or fail */
  HANDOVER_NO,
};

/* Hand SUPERBLOCK, all chunks of SLOTS and their GPU's device node to the
 * store, and make sure that it keeps them: from then on the disk outlives this
 * process.  Returns 0, or -1 after log_error; the store then has nothing.
 */
extern int handover_begin (const struct slots *slots,
                           const struct superblock *superblock);

/* Hand over the device node of the GPU at PCI, if there is one, for a disk
 * whose first server did not.
 */
extern void handover_put_gpu (const char *pci);

/* To be called when the plugin is loaded, for handover_outlive_parent: who has
 * started this server.  'vram-swap serve' gives its process in VRAM_SWAP_KEEPER,
 * for it may have ended by then.
 */
extern void handover_load (void);

/* When the disk is left, by this server or the one before: have the end of the
 * process that started this one be no reason to end the disk.  nbdkit
 * --exit-with-parent, and nbdkit 1.32 always, asks for SIGTERM then, which may
 * mean that; it becomes SIGKILL.  To be called by the main thread, and before
 * nbdkit catches SIGTERM when the disk exists by then.  Returns 0, or -1 after
 * log_error when that process has ended already.
 */
extern int handover_outlive_parent (void);

/* Whether a server that is told to end may end the disk, too.  Who keeps it is
 * the one to say so; where that is somebody who does not say anything (see
 * enum superblock_supervisor), any signal to end means it.
 */
extern bool handover_may_end (const struct superblock *superblock);

/* Give the disk up: no server that comes later is to have it, not even when
 * the store does not do as it is told.
 */
extern void handover_revoke (const struct superblock *superblock);

#endif /* VRAM_HANDOVER_H */
