/* nbdkit-vram: what vram-swap says to people
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_MSG_H
#define VRAM_SWAP_MSG_H

#include <stdbool.h>

/* The exit statuses of vram-swap; vram-swap(8) lists them. */
enum {
  EXIT_OK = 0,
  EXIT_FAILED = 1,  /* something did not work; what had been done is undone */
  EXIT_USAGE = 2,   /* wrong command line or configuration */
  EXIT_REFUSED = 3, /* what is swapped there fits nowhere else */
  EXIT_OFF = 4,     /* status: swap is not on */
  EXIT_PROBLEM = 5, /* check: something has to be fixed first */
  EXIT_INTERRUPTED = 6, /* by a signal; all is as it was before */
};

/* Both write one line with the program's name to stderr.  error () is for
 * what makes the command fail, warning () for what it can live with.
 */
void error (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));
void warning (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* One line to stdout for a step that was done; silent under --quiet. */
void note (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* Hands to the system what stdout still holds.  Returns -1 when that failed,
 * or has failed before.
 */
int output_flush (void);

/* Makes the exit status EXIT_FAILED, with a message, when not all of stdout
 * could be written.  main () calls it first.
 */
void output_check_at_exit (void);

/* Where the lines go instead, when it is set: without the program's name. */
enum severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_NOTE };
extern void (*msg_sink) (enum severity severity, const char *line);

/* A line to stderr, whatever msg_sink is; does not wait for a journal. */
void msg_log (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* Set by --quiet. */
extern bool quiet;

/* SIGINT, SIGTERM and SIGHUP only set a flag from here on: each command looks
 * at it between its steps and undoes them.
 */
void catch_signals (void);
void catch_signal (int sig); /* one more */
bool interrupted (void);

/* From here on interrupted () is false: what is being undone has to be undone
 * to the end.  Every wait in there is bounded.
 */
void finish_undisturbed (void);

/* Whether a signal came at all, for the exit status. */
bool was_interrupted (void);

#endif
