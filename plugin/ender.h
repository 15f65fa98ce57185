/* nbdkit-vram: ends a server whose threads do not come back from the driver
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_ENDER_H
#define VRAM_ENDER_H

#include "disk/superblock.h"
#include "gpu/vram.h"

/* nbdkit ends when all requests have ended, and one that is inside a call into
 * the driver which does not return never does.  So a thread of its own, which
 * sleeps until nbdkit is told to end by a signal, sees to it that copies go on,
 * those of the end too; when they do not for a little longer than LIMIT_MS milliseconds, it gives
 * up the disk of STATE, where it was LEFT to a later server, and ends the
 * process.  Returns 0, or -1 after log_error.
 */
extern int ender_start (struct vram *vram, unsigned limit_ms,
                        const struct superblock *superblock, bool left);

/* Does nothing when there is none. */
extern void ender_stop (void);

#endif /* VRAM_ENDER_H */
