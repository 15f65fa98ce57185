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

/* New chunks hold 0xa5 in every byte.  Copies are free of data races, whatever
 * other threads copy.
 */
struct memory_provider {
  struct provider provider; /* first */
  uint64_t bytes_free;      /* of VRAM */
  unsigned chunks;          /* that exist */

  /* Chunks are memfds that can be exported and imported; or they have no
   * content and are as large as a test wants; else they are malloc's.
   */
  bool exportable, reserve_only;

  /* What goes wrong: the Nth allocation, import or mapping from now on gives
   * FAIL_RESULT, 1 or -1; free_bytes fails; all copies fail.
   */
  unsigned fail_nth;
  int fail_result;
  bool fail_free_bytes;
  atomic_bool lost;

  /* Called before each copy, if not NULL: returns how many of COUNT bytes to
   * copy; when those are fewer, the copy fails after them.  And called after
   * every 256 bytes.
   */
  size_t (*before) (bool write, size_t count);
  void (*pause) (void);

  /* Called before each allocation, mapping, zeroing and freeing, if not NULL. */
  void (*called) (void);

  atomic_uint reads, writes;
  uint64_t spares[8]; /* that map was given */
  unsigned maps;
};

/* Begin with chunks of CHUNK_SIZE, BYTES_FREE of VRAM, and a granularity of
 * one block.
 */
extern void memory_provider_begin (struct memory_provider *m,
                                   uint64_t chunk_size, uint64_t bytes_free);

/* The byte at OFFSET of CHUNK. */
extern unsigned char
memory_provider_byte (const struct chunk *chunk, uint64_t offset);

#endif /* VRAM_MEMORY_PROVIDER_H */
