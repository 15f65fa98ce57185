/* nbdkit-vram: sizes in bytes, rounded and printed
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_UNITS_H
#define VRAM_UNITS_H

#include <stdint.h>

#define KiB UINT64_C (1024)
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)

/* N rounded down, and up, to a multiple of UNIT, a power of two. */
#define ROUND_DOWN(n, unit) ((n) & ~((uint64_t) (unit) -1))
#define ROUND_UP(n, unit)   ROUND_DOWN ((n) + (unit) -1, unit)

/* BYTES for people, "6.5 GiB", into BUF, which is returned. */
#define SIZE_TEXT 32
extern const char *size_text (uint64_t bytes, char buf[SIZE_TEXT]);

/* The same as an expression, for messages: its buffer lives as long as the
 * enclosing block.
 */
#define SIZE_STR(bytes) size_text ((bytes), (char[SIZE_TEXT]){ 0 })

#endif /* VRAM_UNITS_H */
