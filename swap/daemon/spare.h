/* nbdkit-vram: spare memory, for the server that follows one that has died
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * When a server dies while RAM is full, other programs take what it has had,
 * and nothing can be swapped out before the next one serves: without memory of
 * its own it would wait for itself.
 */

#ifndef VRAM_SWAP_SPARE_H
#define VRAM_SWAP_SPARE_H

#include <stdint.h>

/* Hold BYTES of locked RAM from now on.  A thread takes them while more than
 * that is free, so this may take long.  Warns if there can be none.  Not
 * locked: for one thread.
 */
void spare_hold (int64_t bytes);

/* Give it back, a part at a time, when RAM is too short for the next server.
 * Until the next call of spare_hold.  Allocates nothing.
 */
void spare_give (void);

/* Hold nothing from now on, and wait until nothing is held, 1 s at most. */
void spare_drop (void);

/* How many bytes are held now, and how many are to be. */
int64_t spare_held (void);
int64_t spare_wanted (void);

#endif
