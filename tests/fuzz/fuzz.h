/* nbdkit-vram: what the fuzzers have in common
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_FUZZ_H
#define VRAM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer calls; fuzz-driver.c calls it as well, where there is none.
 */
extern int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Not assert: it must not go away with NDEBUG. */
#define MUST(condition)                                                       \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf (stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,             \
               #condition);                                                   \
      abort ();                                                               \
    }                                                                         \
  } while (0)

/* The input, eaten from the front; zeros once it is used up. */
struct input {
  const uint8_t *data;
  size_t left;
};

static inline uint8_t
take_byte (struct input *input)
{
  if (input->left == 0)
    return 0;
  input->left--;
  return *input->data++;
}

static inline uint32_t
take_number (struct input *input, unsigned bytes)
{
  uint32_t n = 0;

  while (bytes-- > 0)
    n = n << 8 | take_byte (input);
  return n;
}

#endif /* VRAM_FUZZ_H */
