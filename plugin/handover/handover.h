/* nbdkit-vram: leaves the disk to the next server
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
  HANDOVER_AUTO, /* if there is one that keeps descriptors */
  HANDOVER_YES,  /* or fail */
  HANDOVER_NO,
};

/* Hand SUPERBLOCK, all chunks of SLOTS and the GPU's device node to the store,
 * and check that they are kept.  From then on the disk outlives this process.
 * Returns 0, or -1 after log_error with nothing in the store.
 */
extern int handover_begin (const struct slots *slots,
                           const struct superblock *superblock);

/* Hand over the device node of the GPU at the address PCI, if there is one,
 * for a disk whose first server did not do that.
 */
extern void handover_put_gpu (const char *pci);

/* Hand over the spill file.  Call it before handover_begin.  Returns 0, or -1
 * after log_error.
 */
extern int handover_put_spill (int fd);

/* The store for the governor's chunks. */
extern const struct governor_store handover_store;

/* Remember the process that started this server, for handover_outlive_parent.
 * Call it when the plugin is loaded.
 */
extern void handover_load (void);

/* Keep a handed-over disk when the process that started this server ends.
 * nbdkit --exit-with-parent, and nbdkit 1.32 always, asks for SIGTERM in this
 * case, which might end the disk.  This changes the signal to SIGKILL.  Call
 * it on the main thread; for an adopted disk, before nbdkit catches SIGTERM.
 * Returns 0, or -1 after log_error if that process has ended already.
 */
extern int handover_outlive_parent (void);

/* Whether a server that is told to end may also end the disk.  A supervisor
 * says so in the superblock (enum superblock_supervisor).  Without a
 * supervisor, any signal to end is enough.
 */
extern bool handover_may_end (const struct superblock *superblock);

/* Give up the disk.  No later server will adopt it, even if it still gets the
 * descriptors from the store.
 */
extern void handover_revoke (const struct superblock *superblock);

#endif /* VRAM_HANDOVER_H */
