/* nbdkit-vram: what the plugin's code calls in nbdkit, for programs that are not nbdkit
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_NBDKIT_STUBS_H
#define VRAM_NBDKIT_STUBS_H

#include <stdbool.h>

/* Whether nbdkit_debug says anything. */
extern bool verbose;

#endif /* VRAM_NBDKIT_STUBS_H */
