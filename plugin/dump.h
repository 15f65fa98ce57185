/* nbdkit-vram: what --dump-plugin prints
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DUMP_H
#define VRAM_DUMP_H

/* nbdkit's dump_plugin: print the driver and its GPUs as KEY=VALUE lines, and
 * check the parameters against them: vram_error= says why a server with these
 * parameters would not start.  Allocates no VRAM and works without a driver.
 */
extern void dump_plugin (void);

#endif /* VRAM_DUMP_H */
