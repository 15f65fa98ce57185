/* nbdkit-vram: how the stand-in drivers read their environment
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef STANDIN_SETTINGS_H
#define STANDIN_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

/* What a library exports; the lists of symbols say so too. */
#define EXPORT __attribute__ ((visibility ("default")))

/* Ends the process: a test with a typo in its environment must not pass. */
extern void settings_fatal (const char *fmt, ...)
    __attribute__ ((noreturn, format (printf, 1, 2)));

/* The variable PREFIX NAME, NULL if it is not set or empty. */
extern const char *settings_get (const char *prefix, const char *name);

/* These end the process on bad input; WHAT names the variable. */
extern uint64_t settings_number (const char *what, const char *s);
extern uint64_t settings_size (const char *what, const char *s);

/* The value for device I of a list with commas, the last one for all further
 * devices, copied to BUF.
 */
extern const char *
settings_item (const char *list, int i, char *buf, size_t len);

/* The UUID of device I from such a list, NULL for the usual ones. */
extern void settings_uuid (unsigned char uuid[16], const char *list, int i);

/* Ends the process if a variable with PREFIX is not among KNOWN, names with a
 * space before and behind each.
 */
extern void settings_check (const char *prefix, const char *known);

#endif /* STANDIN_SETTINGS_H */
