/* nbdkit-vram: when swap goes off by itself
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_POLICY_H
#define VRAM_SWAP_POLICY_H

#include <stdbool.h>

#include "conf.h"
#include "power.h"

/* What the power policy wants; PAUSED: it is off already by this policy. */
bool
policy_power_low (const struct conf *c, const struct power *p, bool paused);

/* Whether memory is short enough to end idle-down. */
bool policy_memory_short (void);

/* Whether swap has to be off while the machine sleeps.  ACTION is what systemd
 * and elogind call it: suspend, hibernate, hybrid-sleep,
 * suspend-then-hibernate.  WHY becomes the reason, for the log.
 */
bool policy_sleep_drains (const struct conf *c, const char *action,
                          const char **why);

/* Whether the driver saves VRAM by itself, where neither RAM nor swap is
 * needed for it.  WHY becomes the reason if it does not.
 */
bool policy_preserves_safely (const char **why);

/* Whether ACTION writes memory to a disk, for which it is always off. */
bool policy_hibernates (const char *action);

#endif
