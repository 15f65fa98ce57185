/* nbdkit-vram: starts, adopts and ends the disk
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LIFECYCLE_H
#define VRAM_LIFECYCLE_H

#include "disk/disk.h"

/* Load the driver's libraries, but do not initialise them.  Call it before
 * nbdkit forks.  Returns 0, or -1 after log_error.
 */
extern int lifecycle_prepare (void);

/* Open a GPU and make a disk there, or take over the disk that adopt= names,
 * with its GPU, size and data.  Hand it over to the service manager as
 * handover= says.  Starts threads; call it in the process that serves, before
 * the first client.  Returns NULL after log_error.  In that case a disk named
 * by adopt= stays as it is.
 */
extern struct disk *lifecycle_start (void);

/* End the disk, or leave it to the next server.  No request may be running.
 * Does nothing if there is no disk.
 */
extern void lifecycle_end (void);

/* The export's description: the GPU, the number of this server if the disk is
 * handed over, and the path of copies at this moment.
 */
#define LIFECYCLE_TEXT (PROVIDER_REASON + 256)
extern void lifecycle_describe (char text[LIFECYCLE_TEXT]);

#endif /* VRAM_LIFECYCLE_H */
