/* nbdkit-vram: sends messages where nbdkit sends its own
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_LOGGING_H
#define VRAM_LOGGING_H

#include "common/log.h"

/* The plugin's log_sink.  Errors and debug messages go through nbdkit.  nbdkit
 * has no function for warnings and information, so these are written where
 * nbdkit's errors go: as nbdkit --log says, else to stderr with nbdkit's
 * prefix, or to syslog when nbdkit runs in the background (stderr is
 * /dev/null).
 */
extern log_sink logging_sink;

/* Call in nbdkit's load: read --log from nbdkit's command line, because nbdkit
 * does not pass it on, and set log_to.
 */
extern void logging_load (void);

/* While stderr is /dev/null, because nbdkit runs in the background, write all
 * but debug messages to FD as well; -1 ends that.  Call it while no other
 * thread logs.
 */
extern void logging_copy_to (int fd);

#endif /* VRAM_LOGGING_H */
