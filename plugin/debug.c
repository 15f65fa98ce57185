/* nbdkit-vram: the debug flags, nbdkit -D NAME.FLAG=1
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "debug.h"

int vram_debug_copies;
int vram_debug_random_path;
int vram_debug_restless;
int vram_debug_window_write_max;
