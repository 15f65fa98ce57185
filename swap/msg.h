/* nbdkit-vram: what vram-swap says to people
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_MSG_H
#define VRAM_SWAP_MSG_H

#include <stdbool.h>

#include "common/log.h"

/* The exit statuses of vram-swap; vram-swap(8) lists them. */
enum {
  EXIT_OK = 0,
  EXIT_FAILED = 1,      /* something did not work */
  EXIT_USAGE = 2,       /* wrong command line or configuration */
  EXIT_REFUSED = 3,     /* the swapped data fits nowhere else */
  EXIT_OFF = 4,         /* status: swap is not on */
  EXIT_PROBLEM = 5,     /* check: something has to be fixed first */
  EXIT_INTERRUPTED = 6, /* by a signal */
  EXIT_NEXT = 7,        /* daemon: only the next one can continue */
};

/* Set by --quiet. */
extern bool quiet;

/* For log_to.  Errors and warnings go to stderr with the program's name,
 * information goes to stdout, unless --quiet.
 */
log_sink msg_to_user;

/* One whole line to stderr, with the program's name.  Does not wait for a
 * journal that does not read.
 */
void msg_to_stderr (enum log_level level, const char *line);

/* Hands to the system what stdout still holds.  Returns -1 when that failed,
 * or has failed before.
 */
int output_flush (void);

/* Makes the exit status EXIT_FAILED, with a message, when not all of stdout
 * could be written.  main () calls it first.
 */
void output_check_at_exit (void);

/* SIGINT, SIGTERM and SIGHUP only set a flag from here on: each command looks
 * at it between its steps and undoes them.
 */
void catch_signals (void);
bool interrupted (void);

/* From here on interrupted () is false: what is being undone has to be undone
 * to the end.  Every wait in there is bounded.
 */
void finish_undisturbed (void);

/* Whether a signal came at all, for the exit status. */
bool was_interrupted (void);

#endif
