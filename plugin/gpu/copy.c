/* nbdkit-vram: copies through the CPU's mapping of VRAM or by DMA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdbool.h>

#include "common/clock.h"
#include "debug.h"
#include "gpu/copy.h"

/* The CPU's unit of transfer to and from write-combined memory, in bytes. */
#define LINE 64

/* For tests: choose the path at random. */
static bool
heads (void)
{
  static _Atomic uint64_t tosses;
  uint64_t n = atomic_fetch_add_explicit (&tosses, 1, memory_order_relaxed);

  n *= UINT64_C (0x9e3779b97f4a7c15);
  n ^= n >> 29;
  n *= UINT64_C (0xbf58476d1ce4e5b9);
  return n >> 63;
}

static void
note_dma (struct copier *copier, uint64_t now)
{
  atomic_store_explicit (&copier->last_dma, now, memory_order_relaxed);
}

/* Whether CHUNK has a mapping that works. */
static bool
has_mapping (const struct copier *copier, const struct cuda_chunk *chunk)
{
  return chunk->mapping.address && mapping_is_open (copier->mapping) &&
         !cuda_is_lost (copier->cuda);
}

static bool
read_by_mapping (struct copier *copier, const struct cuda_chunk *chunk,
                 size_t count)
{
  uint64_t now, last;

  if (!has_mapping (copier, chunk))
    return false;
  if (vram_debug_random_path)
    return heads ();
  if (count <= copier->limits.read_max)
    return true;
  if (count > copier->limits.read_max_rested)
    return false;
  now = clock_ns ();
  last = atomic_load_explicit (&copier->last_dma, memory_order_relaxed);
  /* Another thread may have stored a later time. */
  if (now < last + COPY_REST_NS)
    return false;
  note_dma (copier, now);
  return true;
}

static bool
write_by_mapping (struct copier *copier, const struct cuda_chunk *chunk,
                  size_t count)
{
  if (!has_mapping (copier, chunk))
    return false;
  if (vram_debug_random_path)
    return heads ();
  return count <= copier->limits.write_max;
}

/* Note that DMA has been used.  Only needed if a rest makes a difference. */
static void
note_use (struct copier *copier)
{
  if (copier->limits.read_max_rested > copier->limits.read_max)
    note_dma (copier, clock_ns ());
}

static bool
all_ones (const char *bytes, size_t count)
{
  for (size_t i = 0; i < count; ++i)
    if (bytes[i] != (char) 0xff)
      return false;
  return true;
}

/* Read again, by DMA, the lines that hold only ones, from the first to the
 * last of them, in one copy: each copy costs the driver more than the bytes
 * between them.  For a GPU that is gone the bus answers with ones and no
 * error.  Only the driver knows whether they are data.
 */
static int
check_ones (struct copier *copier, const struct cuda_chunk *chunk,
            uint64_t offset, char *buf, size_t count)
{
  size_t first = count, end = 0, n;

  for (size_t at = 0; at < count; at += n) {
    n = LINE - (offset + at) % LINE;
    if (n > count - at)
      n = count - at;
    /* Most data differs in the first byte. */
    if (buf[at] != (char) 0xff || !all_ones (buf + at, n))
      continue;
    if (end == 0)
      first = at;
    end = at + n;
  }
  if (end == 0)
    return 0;
  return dma_read (copier->queues, buf + first,
                   chunk->address + offset + first, end - first);
}

int
copy_read (struct copier *copier, const struct cuda_chunk *chunk,
           uint64_t offset, void *buf, size_t count)
{
  int r;

  if (read_by_mapping (copier, chunk, count) &&
      mapping_read (copier->mapping, &chunk->mapping, buf, offset, count) == 0)
    return check_ones (copier, chunk, offset, buf, count);
  r = dma_read (copier->queues, buf, chunk->address + offset, count);
  note_use (copier);
  return r;
}

int
copy_write (struct copier *copier, const struct cuda_chunk *chunk,
            uint64_t offset, const void *buf, size_t count)
{
  int r;

  if (write_by_mapping (copier, chunk, count) &&
      mapping_write (copier->mapping, &chunk->mapping, offset, buf, count) ==
          0)
    return 0;
  r = dma_write (copier->queues, chunk->address + offset, buf, count);
  note_use (copier);
  return r;
}
