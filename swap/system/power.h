/* nbdkit-vram: mains or battery
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_POWER_H
#define VRAM_SWAP_POWER_H

#include <stdbool.h>

struct power {
  bool on_battery;
  int charge; /* percent of the emptiest battery, -1 without one */
};

/* From /sys/class/power_supply.  On battery is a machine of which a battery
 * discharges while no supply is online.
 */
void power_read (struct power *p);

#endif
