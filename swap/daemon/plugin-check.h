/* nbdkit-vram: asks nbdkit whether the plugin would start as it is configured
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit runs as the server's user: the configuration names the plugin, and
 * what it names does not run as root.
 */

#ifndef VRAM_SWAP_PLUGIN_CHECK_H
#define VRAM_SWAP_PLUGIN_CHECK_H

#include "conf.h"
#include "run.h"

/* Whether nbdkit loads the plugin.  R has its help, or the reasons why not. */
bool plugin_loads (const struct conf *c, struct run *r);

/* Whether that help, R, shows that this is another plugin of our plugin's
 * name.
 */
bool plugin_is_another (const struct conf *c, const struct run *r);

/* Whether the plugin, which loads, takes the settings.  Touches no GPU. */
bool plugin_takes_settings (const struct conf *c, struct run *r);

/* What nbdkit --dump-plugin says with these settings, in R->output.  Starts
 * the driver, which wakes all GPUs.  False when the plugin refuses.
 */
bool plugin_dump (const struct conf *c, struct run *r);

#endif
