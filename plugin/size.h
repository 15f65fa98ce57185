/* nbdkit-vram: sizes as users write them and as messages show them
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SIZE_H
#define VRAM_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define KiB UINT64_C (1024)
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)

/* N rounded down, and up, to a multiple of UNIT, a power of two. */
#define ROUND_DOWN(n, unit) ((n) & ~((uint64_t) (unit) -1))
#define ROUND_UP(n, unit)   ROUND_DOWN ((n) + (unit) -1, unit)

/* What VRAM is allocated in, when the driver does not ask for more. */
#define GRANULARITY (2 * MiB)

/* What size=max leaves of free VRAM beside the disk and the headroom: streams,
 * events and the window take some when the disk has theirs already.
 */
#define SIZE_RESERVE (32 * MiB)

/* A size before the GPU is known. */
struct size {
  enum { SIZE_UNSET, SIZE_BYTES, SIZE_PERCENT, SIZE_MAX_FREE } kind;
  uint64_t bytes; /* SIZE_BYTES */
  double percent; /* SIZE_PERCENT: of all VRAM that the GPU has; (0, 100] */
};

/* Parse VALUE of the parameter KEY: a size as nbdkit_parse_size takes it, a
 * percentage such as "80%", or "max".  Returns 0, or -1 after nbdkit_error.
 */
extern int size_parse (const char *key, const char *value, struct size *size);

/* Parse VALUE of the parameter KEY as a plain size of at least MIN bytes.
 * Returns 0, or -1 after nbdkit_error.
 */
extern int size_parse_bytes (const char *key, const char *value, uint64_t min,
                             uint64_t *bytes);

/* How many bytes SIZE means on a GPU with TOTAL bytes of VRAM, of which FREE
 * are free and HEADROOM are to be left to others.  Rounded down to 4 KiB, what
 * was not said in bytes to the GRANULARITY of VRAM, where it is as much.
 * Returns 0, or -1 after nbdkit_error when it is more than the GPU has, or a
 * share that is less than 4 KiB.
 */
extern int size_resolve (const struct size *size, uint64_t total, uint64_t free,
                         uint64_t headroom, uint64_t *bytes);

/* BYTES for people, "6.5 GiB", into BUF, which is returned. */
#define SIZE_TEXT 32
extern const char *size_text (uint64_t bytes, char buf[SIZE_TEXT]);

/* The same as an expression, for messages: its buffer lives as long as the
 * enclosing block.
 */
#define SIZE_STR(bytes) size_text ((bytes), (char[SIZE_TEXT]){ 0 })

#endif /* VRAM_SIZE_H */
