/* nbdkit-vram: up and down, for the commands that have to do either
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_LIFE_H
#define VRAM_SWAP_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"
#include "state.h"

/* Where up leaves the settings that it worked with. */
#define SETTINGS_IN_FORCE "/run/vram-swap.conf"

/* Do what 'vram-swap up' and 'vram-swap down' do, under a lock that the caller
 * holds.  Return an exit status of msg.h.
 */
int take_up (const struct options *o, struct state *st);
int take_down (const struct options *o, struct state *st);

/* Is swap on, on a device of ours?  USED (or NULL) becomes what is in it.
 * Returns false with a message when that cannot be read.
 */
bool swap_is_on (const struct state *st, bool *on, int64_t *used);

#endif
