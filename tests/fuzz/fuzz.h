/* nbdkit-vram: shared code of the fuzzers
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_FUZZ_H
#define VRAM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer calls it, or fuzz-driver.c.
 */
extern int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* As assert, but also with NDEBUG. */
#define MUST(condition)                                                       \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf (stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__,             \
               #condition);                                                   \
      abort ();                                                               \
    }                                                                         \
  } while (0)

/* Reads from the front of the input; zeros after its end. */
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
