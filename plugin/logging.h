/* nbdkit-vram: sends messages where nbdkit sends its own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LOGGING_H
#define VRAM_LOGGING_H

#include "common/log.h"

/* The plugin's log_sink.  Errors and debug messages go through nbdkit.  It has
 * no call for warnings and information, so these go to stderr with nbdkit's
 * prefix, or to syslog once nbdkit runs in the background, where stderr is
 * /dev/null.
 */
extern log_sink logging_sink;

#endif /* VRAM_LOGGING_H */
