/* nbdkit-vram: spare memory, for the server that follows one that has died
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * When a server dies while RAM is full, programs take what it has had, and
 * nothing can be swapped out before the next one serves: without memory of its
 * own it would wait for itself.
 */

#ifndef VRAM_SWAP_SPARE_H
#define VRAM_SWAP_SPARE_H

#include <stdint.h>

/* Hold BYTES of RAM from now on, locked if the daemon is.  A thread takes them
 * while programs can have more than that (meminfo_floor), so it may take long.
 * Warns if there can be none.  Not locked: call it from the daemon's main
 * thread only.
 */
void spare_hold (int64_t bytes);

/* From now on give it back, a part at a time, when no program gets memory any
 * more.  Ends with the next call of spare_hold.  Allocates nothing.  Jobs may
 * call it, too.
 */
void spare_give (void);

/* The bytes held now, and the bytes wanted. */
int64_t spare_held (void);
int64_t spare_wanted (void);

#endif
