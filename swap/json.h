/* nbdkit-vram: writes JSON as it goes
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_JSON_H
#define VRAM_SWAP_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* One object at the top.  NAME is NULL for elements of an array. */
struct json {
  FILE *out;
  unsigned depth;
  bool first;
  uint32_t arrays; /* bit N: level N is an array */
};

void json_begin (struct json *j, FILE *out);
void json_end (struct json *j); /* closes the top object, ends the line */

void json_object (struct json *j, const char *name);
void json_array (struct json *j, const char *name);
void json_close (struct json *j); /* closes the innermost of either */

void json_string (struct json *j, const char *name, const char *value);
void json_number (struct json *j, const char *name, int64_t value);
void json_bool (struct json *j, const char *name, bool value);
void json_null (struct json *j, const char *name);

#endif
