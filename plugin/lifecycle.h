/* nbdkit-vram: the life of the disk: started or adopted, and ended
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LIFECYCLE_H
#define VRAM_LIFECYCLE_H

#include "disk/disk.h"

/* Before nbdkit forks: find the driver, but do not start it.  Returns 0, or -1
 * after log_error.
 */
extern int lifecycle_prepare (void);

/* In the process that will serve, before the first client: open a GPU and make
 * a disk there, or take over the one that adopt= brings, with its GPU, its
 * size and every byte of its data; hand it over to the service manager as
 * handover= says.  Starts threads.  Returns NULL after log_error; a disk that
 * was to be taken over stays as it is then.
 */
extern struct disk *lifecycle_start (void);

/* End the disk, unless a later server takes it over.  No request may be
 * running.  Allowed in any state.
 */
extern void lifecycle_end (void);

/* The GPU, the number of this server of the disk if it is handed over, and how
 * copies go at this moment, for the export's description.
 */
#define LIFECYCLE_TEXT (PROVIDER_REASON + 256)
extern void lifecycle_describe (char text[LIFECYCLE_TEXT]);

#endif /* VRAM_LIFECYCLE_H */
