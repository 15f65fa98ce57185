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

/* Replaces PATH by TEXT at once or not at all.  Returns 0, or -1 with errno. */
int write_text (const char *path, const char *text);

bool file_exists (const char *path);

#endif
