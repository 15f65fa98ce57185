/* nbdkit-vram: when the power policy wants swap off
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_POLICY_H
#define VRAM_SWAP_POLICY_H

#include <stdbool.h>

#include "conf.h"
#include "power.h"

/* PAUSED: it is off already, on the power policy's behalf. */
bool
policy_power_down (const struct conf *c, const struct power *p, bool paused);

#endif
