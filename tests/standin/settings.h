/* nbdkit-vram: how the stand-in drivers read their environment
 * SPDX-License-Identifier: BSD-3-Clause
 */
#ifndef STANDIN_SETTINGS_H
#define STANDIN_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

/* A function that a library exports, as its list of symbols says. */
#define EXPORT __attribute__ ((visibility ("default")))

/* Ends the process: a test with a typo in its environment must not pass. */
extern void settings_fatal (const char *fmt, ...)
    __attribute__ ((noreturn, format (printf, 1, 2)));

/* The variable PREFIX NAME, or NULL if it is not set or empty. */
extern const char *settings_get (const char *prefix, const char *name);

/* These end the process on bad input; WHAT names the variable. */
extern uint64_t settings_number (const char *what, const char *s);
extern uint64_t settings_size (const char *what, const char *s);

/* Copies the value for device I of a list with commas to BUF.  The last value
 * is for all further devices, too.
 */
extern const char *
settings_item (const char *list, int i, char *buf, size_t len);

/* The UUID of device I from such a list, or its default if that is NULL. */
extern void settings_uuid (unsigned char uuid[16], const char *list, int i);

/* Ends the process if a variable with PREFIX is not in KNOWN, which has a
 * space before and behind each name.
 */
extern void settings_check (const char *prefix, const char *known);

#endif /* STANDIN_SETTINGS_H */
