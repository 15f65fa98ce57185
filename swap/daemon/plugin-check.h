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

enum plugin_verdict {
  PLUGIN_FINE,
  PLUGIN_MISSING, /* nbdkit does not load it */
  PLUGIN_OTHER,   /* another plugin has the name of ours */
  PLUGIN_REFUSES, /* the settings */
};

/* Touches no GPU.  R has nbdkit's reasons. */
enum plugin_verdict plugin_check (const struct conf *c, struct run *r);

/* What nbdkit --dump-plugin says with these settings, in R->output.  Starts
 * the driver, which wakes all GPUs.  False when the plugin refuses.
 */
bool plugin_dump (const struct conf *c, struct run *r);

#endif
