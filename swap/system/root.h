/* nbdkit-vram: the machine's small files, below a root that tests can move
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_ROOT_H
#define VRAM_SWAP_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* /proc, /sys, /dev and /run are looked up below this; "" for the machine
 * itself.  Set once by --root.
 */
extern const char *root_prefix;

/* The file's path below the root, in a buffer that the next calls reuse in
 * turn (there are four).
 */
const char *
root_path (const char *fmt, ...) __attribute__ ((format (printf, 1, 2)));

/* Reads a file of PATH (already below the root) whole, as text, with the last
 * newline taken off.  Returns the length, or -1 with errno; a file that does
 * not fit is cut.  Allocates nothing.
 */
long read_text (const char *path, char *buf, size_t size);

/* The same for a file that holds one decimal number. */
bool read_number (const char *path, int64_t *value);

/* A file of any length, line by line, in BUF of SIZE.  A line that does not
 * fit is cut.  lines_next returns NULL at the end and has closed the file
 * then. Neither allocates anything.
 */
struct lines {
  int fd;
  char *buf;
  size_t size, begin, end; /* what has been read and not yet returned */
  bool cut;                /* the rest of the line is still to come */
};

bool lines_open (struct lines *l, const char *path, char *buf, size_t size);
char *lines_next (struct lines *l);
void lines_close (struct lines *l);

/* What follows NAME, such as "VmSwap:", and blanks in the first line that
 * begins with it.  False when the file has no such line.
 */
bool read_field (const char *path, const char *name, char *value, size_t size);

/* The same for a number of KiB, in bytes. */
bool read_field_kib (const char *path, const char *name, int64_t *bytes);

/* Replaces PATH by TEXT at once or not at all.  Returns 0, or -1 with errno.
 */
int write_text (const char *path, const char *text);

bool file_exists (const char *path);

#endif
