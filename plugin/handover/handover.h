/* nbdkit-vram: leaves the disk to the server that comes after this one
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_HANDOVER_H
#define VRAM_HANDOVER_H

#include <stdbool.h>

#include "disk/governor.h"
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

/* Hand over the spill file, before the disk.  Returns 0, or -1 after
 * log_error.
 */
extern int handover_put_spill (int fd);

/* Hands chunks that come and go to the store. */
extern const struct governor_store handover_store;

/* Remember the process that started this server, for handover_outlive_parent.
 * Call it when the plugin is loaded.
 */
extern void handover_load (void);

/* Keep the disk when the process that started this server ends.  nbdkit
 * --exit-with-parent, and nbdkit 1.32 always, has itself sent SIGTERM then,
 * which may end the disk; this makes it SIGKILL.  For a disk that has been
 * handed over.  Call it on the main thread; for an adopted disk before nbdkit
 * catches SIGTERM.  Returns 0, or -1 after log_error when that process has
 * ended already.
 */
extern int handover_outlive_parent (void);

/* Whether a server that is told to end may end the disk, too.  A supervisor
 * says so in the superblock (enum superblock_supervisor); without one, any
 * signal to end means it.
 */
extern bool handover_may_end (const struct superblock *superblock);

/* Give the disk up.  No later server adopts it, not even one that the store
 * hands the descriptors to nevertheless.
 */
extern void handover_revoke (const struct superblock *superblock);

#endif /* VRAM_HANDOVER_H */
