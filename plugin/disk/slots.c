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

/* The fewest slots of an elastic disk, if its chunks can be that small. */
#define ELASTIC_SLOTS_MIN 8

/* How much less to try if VRAM is short, in bytes. */
#define STEP (512 * MiB)

/* VRAM is overwritten in pieces, so that the watchdog does not take a slow GPU
 * for one that hangs.  Even at 1 GB/s a piece takes only a second.
 */
#define ZERO_PIECE GiB

static uint64_t
slot_size (const struct slots *slots)
{
  return UINT64_C (1) << slots->shift;
}

/* The smallest slot with which CHUNKS_MAX descriptors are enough, because VRAM
 * is given back by the slot.
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

/* Allocate chunks for SIZE bytes, and keep those of an earlier try that fit.
 * Returns as the provider's allocate.
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

/* Try to allocate SIZE bytes.  Returns 1 if that worked and HEADROOM is still
 * free, 0 if VRAM is short, or -1 after log_error.
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

static void
report_short (struct provider *provider, uint64_t min, uint64_t headroom)
{
  uint64_t bytes_free;

  if (provider->f->free_bytes (provider, &bytes_free) == 0)
    log_error ("VRAM is short: %s are free, headroom=%s must stay free, and "
               "min-size=%s is the minimum size; stop programs that use the "
               "GPU (nvidia-smi lists them) or ask for less",
               SIZE_STR (bytes_free), SIZE_STR (headroom), SIZE_STR (min));
}

int
slots_allocate (struct slots *slots, struct provider *provider, uint64_t size,
                uint64_t min, uint64_t headroom)
{
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
  report_short (provider, min, headroom);
  return -1;

err:
  slots_free (slots);
  return -1;
}

/* Several slots, so that a small disk can be given back in parts. */
static void
choose_elastic_slot_size (struct slots *slots, uint64_t size)
{
  choose_slot_size (slots, size);
  while (slot_size (slots) > slots->provider->granularity &&
         size <= ELASTIC_SLOTS_MIN * (slot_size (slots) / 2))
    slots->shift--;
}

/* The largest size from SIZE down to MIN, in the same steps, for which
 * BYTES_FREE leaves HEADROOM.  Returns 0 if there is none.
 */
static uint64_t
find_size (uint64_t size, uint64_t min, uint64_t headroom, uint64_t bytes_free)
{
  while (size > 0 && (headroom > bytes_free || size > bytes_free - headroom))
    size = step_down (size, min);
  return size;
}

int
slots_begin_elastic (struct slots *slots, struct provider *provider,
                     uint64_t size, uint64_t min, uint64_t headroom,
                     unsigned timeout_ms)
{
  char reason[PROVIDER_REASON];
  uint64_t bytes_free;
  int r = 0;

  memset (slots, 0, sizeof *slots);
  slots->provider = provider;
  if (provider->f->free_bytes (provider, &bytes_free) == -1)
    return -1;
  slots->size = find_size (size, min, headroom, bytes_free);
  if (slots->size == 0) {
    report_short (provider, min, headroom);
    return -1;
  }
  choose_elastic_slot_size (slots, slots->size);
  /* The last slot also needs a whole chunk. */
  if (ROUND_UP (slots->size, slot_size (slots)) > bytes_free - headroom &&
      ROUND_DOWN (slots->size, slot_size (slots)) >= min)
    slots->size = ROUND_DOWN (slots->size, slot_size (slots));
  slots->count = (unsigned) ((slots->size - 1) >> slots->shift) + 1;
  slots->allocated = slots->count * slot_size (slots);
  for (unsigned i = 0; r == 0 && i < slots->count && i < slots_reserve (slots);
       ++i)
    r = provider->f->allocate (provider, slot_size (slots), &slots->chunk[i],
                               reason);
  /* One chunk is enough to start with. */
  if (r != 0 && slots->chunk[0] == NULL) {
    if (r == 1)
      report_short (provider, min, headroom);
    else
      log_error ("cannot allocate %s of VRAM: %s",
                 SIZE_STR (slot_size (slots)), reason);
    goto err;
  }
  slots->elastic =
      elastic_create (slots->count, slot_size (slots), NULL, timeout_ms);
  if (slots->elastic)
    return 0;

err:
  slots_free (slots);
  return -1;
}

void
slots_fill_reserve (struct slots *slots)
{
  for (unsigned i = 0; i < slots->count; ++i)
    if (slots->chunk[i])
      elastic_put_reserve (slots->elastic, i);
}

bool
slots_have_data (const struct slots *slots, const struct blockmap *map,
                 unsigned slot)
{
  const uint64_t blocks = slots->size / BLOCK_SIZE;
  const uint64_t first = ((uint64_t) slot << slots->shift) / BLOCK_SIZE;
  uint64_t end = first + slot_size (slots) / BLOCK_SIZE;
  bool data;

  if (end > blocks)
    end = blocks;
  return blockmap_run (map, first, end, &data) < end - first || data;
}

int
slots_of_chunk (const struct slots *slots, unsigned number)
{
  uint64_t word;

  for (unsigned i = 0; i < slots->count; ++i) {
    word = atomic_load (&slots->elastic->table[i]);
    if (SLOT_STATE (word) == SLOT_VRAM && SLOT_CHUNK (word) == number)
      return (int) i;
  }
  return -1;
}

/* Import the chunk FDS[I] of SIZE bytes. */
static int
import_chunk (struct slots *slots, unsigned i, uint64_t size, int *fds)
{
  struct provider *p = slots->provider;
  char reason[PROVIDER_REASON];

  slots->chunk[i] = p->f->import (p, fds[i], size, reason);
  if (slots->chunk[i] == NULL) {
    log_error ("adopt: cannot import chunk %u of %u: %s", i, slots->count,
               reason);
    return -1;
  }
  fds[i] = -1;
  return 0;
}

int
slots_import (struct slots *slots, struct provider *provider,
              const struct superblock *superblock, int *fds,
              unsigned timeout_ms)
{
  const struct superblock_header *header = superblock->header;
  uint64_t size, left = header->allocated;

  memset (slots, 0, sizeof *slots);
  slots->provider = provider;
  slots->shift = (unsigned) __builtin_ctzll (header->chunk_size);
  slots->count = header->chunk_count;
  slots->allocated = header->allocated;
  slots->size = header->disk_size;
  if (superblock->slots) {
    slots->elastic = elastic_create (slots->count, slot_size (slots),
                                     superblock, timeout_ms);
    if (slots->elastic == NULL)
      goto err;
  }
  for (unsigned i = 0; i < slots->count; ++i, left -= size) {
    size = left < header->chunk_size ? left : header->chunk_size;
    if (!(slots->elastic && fds[i] == -1) &&
        import_chunk (slots, i, size, fds) == -1)
      goto err;
  }
  return 0;

err:
  slots_free (slots);
  return -1;
}

/* An offset in the chunk NUMBER where it holds no data. */
static uint64_t
find_spare (const struct slots *slots, const struct superblock *superblock,
            unsigned number)
{
  const int slot =
      slots->elastic ? slots_of_chunk (slots, number) : (int) number;
  uint64_t first, end, block;

  if (slot == -1)
    return SPARE_ALL;
  first = ((uint64_t) slot << slots->shift) / BLOCK_SIZE;
  end = first + slots->chunk[number]->size / BLOCK_SIZE;
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
    if (slots->chunk[i] == NULL)
      continue;
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
slots_zero_chunk (struct slots *slots, unsigned number)
{
  struct provider *p = slots->provider;
  struct chunk *chunk = slots->chunk[number];
  uint64_t n;

  for (uint64_t at = 0; at < chunk->size; at += n) {
    n = chunk->size - at < ZERO_PIECE ? chunk->size - at : ZERO_PIECE;
    if (p->f->zero (p, chunk, at, n) == -1)
      return -1;
  }
  return 0;
}

int
slots_zero (struct slots *slots)
{
  uint64_t bytes = 0, start = clock_ms ();

  for (unsigned i = 0; i < slots->count; ++i) {
    if (slots->chunk[i] == NULL)
      continue;
    if (slots_zero_chunk (slots, i) == -1)
      return -1;
    bytes += slots->chunk[i]->size;
  }
  log_debug ("overwrote %s of VRAM in %" PRIu64 " ms", SIZE_STR (bytes),
             clock_ms () - start);
  return 0;
}

void
slots_free (struct slots *slots)
{
  for (unsigned i = slots->count; i-- > 0;)
    if (slots->chunk[i])
      slots->provider->f->free (slots->provider, slots->chunk[i]);
  elastic_free (slots->elastic);
  memset (slots, 0, sizeof *slots);
}

/* The chunk of the slot at OFFSET, whose word is WORD. */
static struct chunk *
chunk_at (const struct slots *slots, uint64_t offset, uint64_t word)
{
  return slots
      ->chunk[slots->elastic ? SLOT_CHUNK (word) : offset >> slots->shift];
}

/* Read COUNT bytes of a slot in the spill file, which holds stale bytes in
 * blocks without data.
 */
static int
read_spilled (const struct slots *slots, char *buf, size_t count,
              uint64_t offset)
{
  const struct elastic *e = slots->elastic;
  const uint64_t end = (offset + count - 1) / BLOCK_SIZE + 1;
  uint64_t n;
  bool data;

  for (; count > 0; count -= n, offset += n, buf += n) {
    n = blockmap_run (e->map, offset / BLOCK_SIZE, end, &data) * BLOCK_SIZE -
        offset % BLOCK_SIZE;
    if (n > count)
      n = count;
    if (!data)
      memset (buf, 0, n);
    else if (spill_read (e->spill, buf, n, offset) == -1)
      return -1;
  }
  return 0;
}

/* Read COUNT bytes that lie in one slot. */
static int
read_in_slot (const struct slots *slots, void *buf, size_t count,
              uint64_t offset, uint64_t word)
{
  struct provider *p = slots->provider;

  /* The last block was trimmed after the block map was read. */
  if (slots->elastic && SLOT_STATE (word) == SLOT_EMPTY) {
    memset (buf, 0, count);
    return 0;
  }
  if (slots->elastic && SLOT_STATE (word) == SLOT_SPILL)
    return read_spilled (slots, buf, count, offset);
  return p->f->read (p, chunk_at (slots, offset, word),
                     offset & (slot_size (slots) - 1), buf, count);
}

static int
read_pinned (const struct slots *slots, void *buf, size_t count,
             uint64_t offset)
{
  const unsigned slot = (unsigned) (offset >> slots->shift);
  uint64_t word;
  int r;

  if (elastic_pin (slots->elastic, slot, PIN_READ, &word) == -1)
    return -1;
  r = read_in_slot (slots, buf, count, offset, word);
  elastic_unpin (slots->elastic, slot, PIN_READ);
  return r;
}

int
slots_read (const struct slots *slots, void *buf, size_t count,
            uint64_t offset)
{
  char *to = buf;
  size_t n;
  int r;

  for (; count > 0; count -= n, offset += n, to += n) {
    n = slots_bytes_in_slot (slots, count, offset);
    r = slots->elastic ? read_pinned (slots, to, n, offset)
                       : read_in_slot (slots, to, n, offset, 0);
    if (r == -1)
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
  uint64_t word = 0;
  size_t n;
  int r;

  for (; count > 0; count -= n, offset += n, from += n) {
    n = slots_bytes_in_slot (slots, count, offset);
    if (slots->elastic)
      word = atomic_load (&slots->elastic->table[offset >> slots->shift]);
    r = SLOT_STATE (word) == SLOT_SPILL
            ? spill_write (slots->elastic->spill, from, n, offset)
            : p->f->write (p, chunk_at (slots, offset, word),
                           offset & (slot_size (slots) - 1), from, n);
    if (r == -1)
      return -1;
  }
  return 0;
}
