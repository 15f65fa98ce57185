/* nbdkit-vram: the machine's swaps
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_SWAPS_H
#define VRAM_SWAP_SWAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct swap {
  char path[256]; /* as in /proc/swaps, octal escapes resolved, maybe cut */
  bool is_file;
  int64_t size; /* bytes */
  int64_t used;
  int priority;
};

#define SWAPS_MAX 32 /* the kernel's own limit, MAX_SWAPFILES */

struct swaps {
  size_t n;
  struct swap swap[SWAPS_MAX];
};

/* Reads /proc/swaps, in the order in which the kernel fills them: highest
 * priority first.  Returns 0, or -1 with a message.  Allocates nothing.
 */
int swaps_read (struct swaps *s);

bool swap_is_zram (const struct swap *swap);

/* Writes the swap signature with mkswap, and our label. Returns 0, or -1 with
 * a message. */
int swap_format (const char *device);

/* Whether the swap on DEVICE has our label.  A device without a server does
 * not answer: this reads in a child process, gives it 5 s, and leaves it
 * waiting.
 */
bool swap_has_label (const char *device);

/* From the first SWAP_START bytes of a disk: whether swap_format was there,
 * and the swap's own UUID as SWAP_ID digits, by which it is told from any
 * other.
 */
#define SWAP_START 2048
#define SWAP_ID    32
bool swap_identify (const void *start, char *id);

/* Switches DEVICE on with PRIORITY; DISCARD is the configuration's word.
 * Returns 0, or -1 with a message.
 */
int swap_on (const char *device, int priority, const char *discard);

#endif
