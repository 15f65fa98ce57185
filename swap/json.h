/* nbdkit-vram: JSON, written and read with jansson
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * jansson and not json-c: it takes 12 KiB less of RAM that is locked, refuses
 * text that is not UTF-8, writes into a buffer of the caller's, and takes its
 * memory from where it is told to (json_use_arena).
 */

#ifndef VRAM_SWAP_JSON_H
#define VRAM_SWAP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t;

/* For a process that must not allocate while swap does not answer: from here
 * on all JSON lives in static memory, which is empty again whenever no object
 * is left.  What does not fit fails.  Call it once, before any other function
 * here and before memory is locked.
 */
#define JSON_ARENA (64 * 1024)
void json_use_arena (void);

/* --- Writing.  One object at the top; NAME is NULL for elements of an array.
 * Bytes of a string that are not UTF-8 become U+FFFD.
 */
struct json {
  struct json_t *open[8]; /* containers, the innermost last */
  unsigned depth;
  bool failed; /* memory ran out, or nested too deep */
};

void json_begin (struct json *j);

void json_add_object (struct json *j, const char *name);
void json_add_array (struct json *j, const char *name);
void json_close (struct json *j); /* closes the innermost of either */

void json_add_string (struct json *j, const char *name, const char *value);
void json_add_number (struct json *j, const char *name, int64_t value);
void json_add_bool (struct json *j, const char *name, bool value);
void json_add_null (struct json *j, const char *name);

/* TEXT as a string; null for "" and NULL. */
void json_add_text (struct json *j, const char *name, const char *text);

/* The same value again; null for NULL. */
void
json_add_copy (struct json *j, const char *name, const struct json_t *value);

/* Both end the object and free it.  json_print writes it to OUT, indented.
 * json_line writes it to BUF as one line with its newline, without a NUL, and
 * returns its length.  Both return -1 when it could not be made or does not
 * fit.
 */
int json_print (struct json *j, FILE *out);
long json_line (struct json *j, char *buf, size_t size);

/* --- Reading.  TEXT is one object, and nothing follows it.  NULL when it is
 * not, or names something twice.
 */
struct json_t *json_read (const char *text, size_t size);
void json_free (struct json_t *object);

/* The member NAME, or NULL.  It lives as long as OBJECT, which may be NULL or
 * of another type, here and below.
 */
const struct json_t *json_get (const struct json_t *object, const char *name);

/* False when NAME is not a number. */
bool json_get_number (const struct json_t *object, const char *name,
                      int64_t *value);

/* 0, false or "" when NAME is missing or of another type. */
int64_t json_number (const struct json_t *object, const char *name);
bool json_flag (const struct json_t *object, const char *name);
const char *json_text (const struct json_t *object, const char *name);

#endif
