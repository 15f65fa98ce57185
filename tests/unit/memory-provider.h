/* nbdkit-vram: a provider whose VRAM is ordinary memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_MEMORY_PROVIDER_H
#define VRAM_MEMORY_PROVIDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/provider.h"

/* New chunks hold 0xa5 in every byte.  Copies have no data races with other
 * threads' copies.
 */
struct memory_provider {
  struct provider provider; /* first */
  uint64_t bytes_free;      /* of VRAM */
  unsigned chunks;          /* how many exist */
  unsigned dirty_frees;     /* of chunks with other bytes than zeros */
  uint64_t zeroed;          /* bytes */

  /* Chunks are memfds, which can be exported and imported; or they have no
   * content, and any size; or they come from malloc.
   */
  bool exportable, reserve_only;

  /* Faults: the Nth allocation, import or mapping from now on returns
   * FAIL_RESULT, 1 or -1; the next so many zeroings fail and do nothing;
   * free_bytes fails; all copies fail.
   */
  unsigned fail_nth;
  int fail_result;
  unsigned fail_zeros;
  bool fail_free_bytes;
  atomic_bool lost;

  /* If not NULL, BEFORE is called before each copy, and returns how many of
   * COUNT bytes to copy; after fewer bytes the copy fails.  PAUSE is called
   * after every 256 bytes.
   */
  size_t (*before) (bool write, size_t count);
  void (*pause) (void);

  /* If not NULL, called before each allocation, mapping, zeroing and freeing.
   */
  void (*called) (void);

  atomic_uint reads, writes;
  uint64_t spares[8]; /* the arguments of map */
  unsigned maps;
};

/* Sets up a provider with chunks of CHUNK_SIZE, BYTES_FREE of VRAM, and a
 * granularity of one block.
 */
extern void memory_provider_begin (struct memory_provider *m,
                                   uint64_t chunk_size, uint64_t bytes_free);

/* The byte at OFFSET of CHUNK, and whether all of its bytes are zeros. */
extern unsigned char
memory_provider_byte (const struct chunk *chunk, uint64_t offset);
extern bool memory_provider_is_zero (const struct chunk *chunk);

#endif /* VRAM_MEMORY_PROVIDER_H */
