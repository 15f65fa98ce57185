/* nbdkit-vram: where each part of the disk lies in VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/units.h"
#include "disk/blockmap.h"
#include "disk/slots.h"

/* How much less is tried when VRAM is short. */
#define STEP (512 * MiB)

/* VRAM is overwritten in pieces, so that a slow GPU is not taken for one that
 * hangs: even at 1 GB/s such a piece takes 1 second.
 */
#define ZERO_PIECE GiB

static uint64_t
slot_size (const struct slots *slots)
{
  return UINT64_C (1) << slots->shift;
}

/* Few slots are easy to hold as descriptors; small ones let VRAM be given back in
 * small pieces.
 */
static void
choose_slot_size (struct slots *slots, uint64_t size)
{
  slots->shift = (unsigned) __builtin_ctzll (slots->provider->chunk_size);
  while ((size - 1) >> slots->shift >= CHUNKS_MAX)
    slots->shift++;
}

static void
free_last (struct slots *slots)
{
  struct chunk *chunk = slots->chunk[--slots->count];

  slots->allocated -= chunk->size;
  slots->provider->f->free (slots->provider, chunk);
}

static int
add_chunk (struct slots *slots, uint64_t size, char reason[PROVIDER_REASON])
{
  int r = slots->provider->f->allocate (slots->provider, size,
                                        &slots->chunk[slots->count], reason);

  if (r != 0)
    return r;
  slots->count++;
  slots->allocated += size;
  return 0;
}

/* Have chunks for SIZE bytes, keeping those of an earlier try that fit.  Returns
 * as the provider's allocate.
 */
static int
resize (struct slots *slots, uint64_t size, char reason[PROVIDER_REASON])
{
  uint64_t whole = size >> slots->shift;
  uint64_t rest =
      ROUND_UP (size & (slot_size (slots) - 1), slots->provider->granularity);
  int r = 0;

  while (slots->count > whole ||
         (slots->count > 0 &&
          slots->chunk[slots->count - 1]->size != slot_size (slots)))
    free_last (slots);
  while (r == 0 && slots->count < whole)
    r = add_chunk (slots, slot_size (slots), reason);
  if (r == 0 && rest > 0)
    r = add_chunk (slots, rest, reason);
  return r;
}

/* The next smaller size to try after SIZE, 0 when none is left. */
static uint64_t
step_down (uint64_t size, uint64_t min)
{
  if (size <= min)
    return 0;
  return size > min + STEP ? size - STEP : min;
}

/* Try SIZE.  Returns 1 when it has been allocated and HEADROOM is free beside
 * it, 0 when VRAM is short, -1 after log_error.
 */
static int
try_size (struct slots *slots, uint64_t size, uint64_t headroom)
{
  char reason[PROVIDER_REASON];
  uint64_t bytes_free;
  int r = resize (slots, size, reason);

  if (r == 1)
    return 0;
  if (r == -1) {
    log_error ("cannot allocate %s of VRAM: %s", SIZE_STR (size), reason);
    return -1;
  }
  if (headroom == 0)
    return 1;
  if (slots->provider->f->free_bytes (slots->provider, &bytes_free) == -1)
    return -1;
  return bytes_free >= headroom;
}

int
slots_allocate (struct slots *slots, struct provider *provider, uint64_t size,
                uint64_t min, uint64_t headroom)
{
  uint64_t bytes_free;
  int r;

  memset (slots, 0, sizeof *slots);
  slots->provider = provider;
  choose_slot_size (slots, size);
  for (uint64_t try = size; try > 0; try = step_down (try, min)) {
    r = try_size (slots, try, headroom);
    if (r == -1)
      goto err;
    if (r == 1) {
      slots->size = try;
      return 0;
    }
    log_debug ("cannot allocate %s of VRAM, trying less", SIZE_STR (try));
  }
  slots_free (slots);
  if (provider->f->free_bytes (provider, &bytes_free) == 0)
    log_error ("VRAM is short: %s are free, headroom=%s must stay free, and "
               "min-size=%s is the minimum size; stop programs that use the "
               "GPU (nvidia-smi lists them) or ask for less",
               SIZE_STR (bytes_free), SIZE_STR (headroom), SIZE_STR (min));
  return -1;

err:
  slots_free (slots);
  return -1;
}

int
slots_import (struct slots *slots, struct provider *provider,
              const struct superblock *superblock, int *fds)
{
  const struct superblock_header *header = superblock->header;
  char reason[PROVIDER_REASON];
  uint64_t size;
  unsigned i;

  memset (slots, 0, sizeof *slots);
  slots->provider = provider;
  slots->shift = (unsigned) __builtin_ctzll (header->chunk_size);
  while ((i = slots->count) < header->chunk_count) {
    size = header->allocated - slots->allocated;
    if (size > header->chunk_size)
      size = header->chunk_size;
    slots->chunk[i] = provider->f->import (provider, fds[i], size, reason);
    if (slots->chunk[i] == NULL) {
      log_error ("adopt: cannot import chunk %u of %u: %s", i,
                 header->chunk_count, reason);
      slots_free (slots);
      return -1;
    }
    fds[i] = -1;
    slots->count++;
    slots->allocated += size;
  }
  slots->size = header->disk_size;
  return 0;
}

/* Where slot I holds nothing. */
static uint64_t
find_spare (const struct slots *slots, const struct superblock *superblock,
            unsigned i)
{
  uint64_t first = ((uint64_t) i << slots->shift) / BLOCK_SIZE, block;
  uint64_t end = first + slots->chunk[i]->size / BLOCK_SIZE;

  if (!superblock_find_free (superblock, first, end, &block))
    return SPARE_NONE;
  return (block - first) * BLOCK_SIZE;
}

int
slots_map (struct slots *slots, const struct superblock *superblock)
{
  char reason[PROVIDER_REASON];
  uint64_t spare = SPARE_ALL;

  for (unsigned i = 0; i < slots->count; ++i) {
    if (superblock)
      spare = find_spare (slots, superblock, i);
    if (slots->provider->f->map (slots->provider, slots->chunk[i], spare,
                                 reason) == -1) {
      log_error ("cannot map chunk %u of %u: %s", i, slots->count, reason);
      return -1;
    }
  }
  return 0;
}

int
slots_zero (struct slots *slots)
{
  struct provider *p = slots->provider;
  uint64_t n, start = clock_ms ();

  for (unsigned i = 0; i < slots->count; ++i)
    for (uint64_t at = 0; at < slots->chunk[i]->size; at += n) {
      n = slots->chunk[i]->size - at;
      if (n > ZERO_PIECE)
        n = ZERO_PIECE;
      if (p->f->zero (p, slots->chunk[i], at, n) == -1)
        return -1;
    }
  log_debug ("overwrote %s of VRAM in %" PRIu64 " ms",
             SIZE_STR (slots->allocated), clock_ms () - start);
  return 0;
}

void
slots_free (struct slots *slots)
{
  while (slots->count > 0)
    free_last (slots);
}

/* How many of COUNT bytes at OFFSET lie in the slot of OFFSET. */
static size_t
bytes_in_slot (const struct slots *slots, size_t count, uint64_t offset)
{
  uint64_t left = slot_size (slots) - (offset & (slot_size (slots) - 1));

  return count < left ? count : left;
}

int
slots_read (const struct slots *slots, void *buf, size_t count,
            uint64_t offset)
{
  struct provider *p = slots->provider;
  char *to = buf;
  size_t n;

  for (; count > 0; count -= n, offset += n, to += n) {
    n = bytes_in_slot (slots, count, offset);
    if (p->f->read (p, slots->chunk[offset >> slots->shift],
                    offset & (slot_size (slots) - 1), to, n) == -1)
      return -1;
  }
  return 0;
}

int
slots_write (const struct slots *slots, const void *buf, size_t count,
             uint64_t offset)
{
  struct provider *p = slots->provider;
  const char *from = buf;
  size_t n;

  for (; count > 0; count -= n, offset += n, from += n) {
    n = bytes_in_slot (slots, count, offset);
    if (p->f->write (p, slots->chunk[offset >> slots->shift],
                     offset & (slot_size (slots) - 1), from, n) == -1)
      return -1;
  }
  return 0;
}
