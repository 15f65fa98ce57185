/* nbdkit-vram: the disk that the NBD client sees
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "disk/blockmap.h"
#include "disk/disk.h"
#include "disk/spread.h"

/* Shorter gaps between blocks with data are copied along with these.  One more
 * copy costs about as much as moving 64 KiB.
 */
#define GAP_BLOCKS 16

/* How many such gaps one copy may hold. */
#define GAPS_MAX 32

/* How many blocks disk_warm_up writes and reads. */
#define WARM_UP_BLOCKS 8

struct disk {
  const struct slots *slots;
  struct blockmap *map;
  struct spread spread;
};

static const char zeros[BLOCK_SIZE];

struct disk *
disk_create (const struct slots *slots, void *map_bits)
{
  struct disk *disk;

  disk = calloc (1, sizeof *disk);
  if (disk == NULL)
    goto err;
  disk->slots = slots;
  disk->map = blockmap_create (slots->size / BLOCK_SIZE, map_bits);
  if (disk->map == NULL)
    goto err;
  if (slots->elastic)
    disk->spread = spread_of (slots->size);
  return disk;

err:
  log_error ("cannot allocate the block map: %m");
  free (disk);
  return NULL;
}

void
disk_free (struct disk *disk)
{
  if (disk == NULL)
    return;
  blockmap_free (disk->map);
  free (disk);
}

/* Whether COUNT bytes are all zeros. */
static bool
is_zero (const char *buf, size_t count)
{
  const size_t sample = count < 16 ? count : 16;

  /* Most data differs from zeros in the first bytes.  The rest is compared
   * with itself, shifted, because memcmp is fast.
   */
  return memcmp (buf, zeros, sample) == 0 &&
         memcmp (buf, buf + sample, count - sample) == 0;
}

static void
clear_blocks (struct disk *disk, uint64_t first, uint64_t count)
{
  blockmap_clear (disk->map, first, count);
  if (count > 0)
    slots_trimmed (disk->slots);
}

/* How many of COUNT blocks at BUF, from the first on, are all zeros. */
static uint64_t
zero_blocks (const char *buf, uint64_t count)
{
  uint64_t n = 0;

  while (n < count && is_zero (buf + n * BLOCK_SIZE, BLOCK_SIZE))
    ++n;
  return n;
}

/* How many of COUNT blocks at BUF, of which the first is not zeros, to write
 * with one copy: up to a long gap of zeros, without zeros at the end, and at
 * most CLAIM_BLOCKS.
 */
static uint64_t
blocks_to_copy (const char *buf, uint64_t count)
{
  uint64_t n = 1, zero;

  if (count > CLAIM_BLOCKS)
    count = CLAIM_BLOCKS;
  while (n < count) {
    zero = zero_blocks (buf + n * BLOCK_SIZE, count - n);
    if (zero >= GAP_BLOCKS || n + zero == count)
      break;
    n += zero + 1;
  }
  return n;
}

/* Returns 0, or -1 with errno = EIO after disk_fail. */
static int
claim_blocks (struct disk *disk, uint64_t first, uint64_t count,
              struct claim *claim)
{
  if (blockmap_claim (disk->map, first, count, claim))
    return 0;
  errno = EIO;
  return -1;
}

void
disk_fail (struct disk *disk)
{
  blockmap_fail (disk->map);
  if (disk->slots->elastic)
    elastic_fail (disk->slots->elastic);
}

struct blockmap *
disk_blockmap (struct disk *disk)
{
  return disk->map;
}

/* Claim COUNT blocks of one slot, and pin the slot.  Returns as claim_blocks.
 */
static int
begin_write (struct disk *disk, uint64_t first, uint64_t count,
             struct claim *claim)
{
  if (claim_blocks (disk, first, count, claim) == -1)
    return -1;
  /* In this order, because a write that holds a pin must not wait for a claim.
   */
  if (slots_begin_write (disk->slots, first * BLOCK_SIZE) == 0)
    return 0;
  blockmap_release (disk->map, claim);
  return -1;
}

/* With PUBLISH the blocks hold data from now on. */
static void
end_write (struct disk *disk, uint64_t first, struct claim *claim,
           bool publish)
{
  if (publish)
    blockmap_publish (disk->map, claim);
  else
    blockmap_release (disk->map, claim);
  slots_end_write (disk->slots, first * BLOCK_SIZE);
}

/* Write COUNT whole blocks of one slot, at most CLAIM_BLOCKS. */
static int
copy_blocks (struct disk *disk, const char *buf, uint64_t first,
             uint64_t count)
{
  struct claim claim;
  int r;

  if (begin_write (disk, first, count, &claim) == -1)
    return -1;
  r = slots_write (disk->slots, buf, count * BLOCK_SIZE, first * BLOCK_SIZE);
  end_write (disk, first, &claim, r == 0);
  return r;
}

/* Write COUNT whole blocks.  Blocks of zeros are cleared instead. */
static int
write_blocks (struct disk *disk, const char *buf, uint64_t first,
              uint64_t count)
{
  uint64_t n;

  for (uint64_t done = 0; done < count; done += n) {
    const char *from = buf + done * BLOCK_SIZE;

    n = zero_blocks (from, count - done);
    if (n > 0) {
      clear_blocks (disk, first + done, n);
      continue;
    }
    n = slots_bytes_in_slot (disk->slots, (count - done) * BLOCK_SIZE,
                             (first + done) * BLOCK_SIZE) /
        BLOCK_SIZE;
    n = blocks_to_copy (from, n);
    if (copy_blocks (disk, from, first + done, n) == -1)
      return -1;
  }
  return 0;
}

/* Write COUNT bytes at OFFSET, a part of one block. */
static int
write_part (struct disk *disk, const char *buf, size_t count, uint64_t offset)
{
  uint64_t block = offset / BLOCK_SIZE;
  _Alignas(64) char whole[BLOCK_SIZE];
  struct claim claim;
  int r;

  if (!blockmap_has_data (disk->map, block) && is_zero (buf, count))
    return 0;
  if (begin_write (disk, block, 1, &claim) == -1)
    return -1;
  if (blockmap_has_data (disk->map, block)) {
    r = slots_write (disk->slots, buf, count, offset);
    end_write (disk, block, &claim, false);
    return r;
  }

  /* VRAM holds stale bytes around the part. */
  memset (whole, 0, sizeof whole);
  memcpy (whole + offset % BLOCK_SIZE, buf, count);
  r = slots_write (disk->slots, whole, sizeof whole, block * BLOCK_SIZE);
  end_write (disk, block, &claim, r == 0);
  return r;
}

/* A range of bytes as a part of a block, whole blocks, and a part of a block;
 * each may be empty.
 */
struct parts {
  uint32_t head;  /* bytes */
  uint64_t first; /* the first whole block */
  uint64_t count; /* whole blocks */
  uint32_t tail;  /* bytes */
};

static struct parts
split (uint32_t count, uint64_t offset)
{
  uint32_t into = offset % BLOCK_SIZE;
  struct parts parts = { 0 };

  if (into > 0) {
    parts.head = BLOCK_SIZE - into;
    if (parts.head > count)
      parts.head = count;
  }
  parts.first = (offset + parts.head) / BLOCK_SIZE;
  parts.count = (count - parts.head) / BLOCK_SIZE;
  parts.tail = (count - parts.head) % BLOCK_SIZE;
  return parts;
}

static int
write_places (struct disk *disk, const char *buf, uint32_t count,
              uint64_t place)
{
  struct parts parts = split (count, place);
  const char *whole = buf + parts.head;

  if (parts.head > 0 && write_part (disk, buf, parts.head, place) == -1)
    return -1;
  if (write_blocks (disk, whole, parts.first, parts.count) == -1)
    return -1;
  if (parts.tail > 0)
    return write_part (disk, whole + parts.count * BLOCK_SIZE, parts.tail,
                       (parts.first + parts.count) * BLOCK_SIZE);
  return 0;
}

static int
zero_places (struct disk *disk, uint32_t count, uint64_t place)
{
  struct parts parts = split (count, place);

  if (parts.head > 0 && write_part (disk, zeros, parts.head, place) == -1)
    return -1;
  clear_blocks (disk, parts.first, parts.count);
  if (parts.tail > 0)
    return write_part (disk, zeros, parts.tail,
                       (parts.first + parts.count) * BLOCK_SIZE);
  return 0;
}

static void
trim_places (struct disk *disk, uint32_t count, uint64_t place)
{
  struct parts parts = split (count, place);

  clear_blocks (disk, parts.first, parts.count);
}

/* Bytes [START, END) that are read with one copy, and the gaps in them that
 * had no data before the copy began: VRAM's content there is stale.
 */
struct span {
  uint64_t start, end;
  unsigned gaps;
  struct {
    uint64_t start, end;
  } gap[GAPS_MAX];
};

/* Read SPAN into BUF, which begins with byte OFFSET of the disk, and empty the
 * span.
 */
static int
read_span (struct disk *disk, struct span *span, char *buf, uint64_t offset)
{
  if (span->start == span->end)
    return 0;
  if (slots_read (disk->slots, buf + (span->start - offset),
                  span->end - span->start, span->start) == -1)
    return -1;
  for (unsigned i = 0; i < span->gaps; ++i)
    memset (buf + (span->gap[i].start - offset), 0,
            span->gap[i].end - span->gap[i].start);
  span->start = span->end;
  span->gaps = 0;
  return 0;
}

/* As disk_extent, for places. */
static uint64_t
extent_of_places (const struct disk *disk, uint64_t place, uint64_t end,
                  bool *hole)
{
  uint64_t first = place / BLOCK_SIZE;
  uint64_t last = (end + BLOCK_SIZE - 1) / BLOCK_SIZE, run_end;
  bool data;

  run_end =
      (first + blockmap_run (disk->map, first, last, &data)) * BLOCK_SIZE;
  *hole = !data;
  return (run_end < end ? run_end : end) - place;
}

static int
read_places (struct disk *disk, char *buf, uint32_t count, uint64_t place)
{
  const uint64_t end = place + count;
  struct span span;
  uint64_t n;
  bool hole;

  span.start = span.end = place;
  span.gaps = 0;
  for (uint64_t at = place; at < end; at += n) {
    n = extent_of_places (disk, at, end, &hole);
    if (!hole) {
      /* Join the span, over a gap if there is one. */
      if (span.start == span.end)
        span.start = at;
      span.end = at + n;
      continue;
    }
    if (span.start != span.end && n < GAP_BLOCKS * BLOCK_SIZE &&
        at + n < end && span.gaps < GAPS_MAX) {
      span.gap[span.gaps].start = at;
      span.gap[span.gaps].end = at + n;
      span.gaps++;
      continue;
    }
    if (read_span (disk, &span, buf, place) == -1)
      return -1;
    memset (buf + (at - place), 0, n);
  }
  return read_span (disk, &span, buf, place);
}

/*
 * Requests, by the offsets that the client knows.
 */

int
disk_read (struct disk *disk, void *buf, uint32_t count, uint64_t offset)
{
  char *to = buf;
  uint32_t n;

  for (; count > 0; count -= n, offset += n, to += n) {
    n = (uint32_t) spread_run (disk->spread, offset, count);
    if (read_places (disk, to, n, spread_place (disk->spread, offset)) == -1)
      return -1;
  }
  return 0;
}

int
disk_write (struct disk *disk, const void *buf, uint32_t count,
            uint64_t offset)
{
  const char *from = buf;
  uint32_t n;

  for (; count > 0; count -= n, offset += n, from += n) {
    n = (uint32_t) spread_run (disk->spread, offset, count);
    if (write_places (disk, from, n, spread_place (disk->spread, offset)) ==
        -1)
      return -1;
  }
  return 0;
}

int
disk_zero (struct disk *disk, uint32_t count, uint64_t offset)
{
  uint32_t n;

  for (; count > 0; count -= n, offset += n) {
    n = (uint32_t) spread_run (disk->spread, offset, count);
    if (zero_places (disk, n, spread_place (disk->spread, offset)) == -1)
      return -1;
  }
  return 0;
}

void
disk_trim (struct disk *disk, uint32_t count, uint64_t offset)
{
  uint32_t n;

  for (; count > 0; count -= n, offset += n) {
    n = (uint32_t) spread_run (disk->spread, offset, count);
    trim_places (disk, n, spread_place (disk->spread, offset));
  }
}

uint64_t
disk_extent (const struct disk *disk, uint64_t offset, uint64_t end,
             bool *hole)
{
  const uint64_t place = spread_place (disk->spread, offset);

  return extent_of_places (
      disk, place, place + spread_run (disk->spread, offset, end - offset),
      hole);
}

uint64_t
disk_size (const struct disk *disk)
{
  return disk->slots->size;
}

int
disk_check (const struct disk *disk)
{
  struct provider *p = disk->slots->provider;

  return p->f->check (p);
}

uint64_t
disk_used (const struct disk *disk)
{
  return blockmap_count (disk->map) * BLOCK_SIZE;
}

/* Find up to WANTED blocks in a row that hold no data; returns how many. */
static uint64_t
find_free_blocks (const struct disk *disk, uint64_t wanted, uint64_t *first)
{
  const uint64_t blocks = disk->slots->size / BLOCK_SIZE;
  uint64_t best = 0, n;
  bool data;

  for (uint64_t at = 0; at < blocks && best < wanted; at += n) {
    n = blockmap_run (disk->map, at, blocks, &data);
    if (!data && n > best) {
      best = n < wanted ? n : wanted;
      *first = at;
    }
  }
  return best;
}

/* Make requests of every kind to COUNT blocks from FIRST on.  They use a map
 * of their own, so that the disk's map never says that the blocks hold data,
 * even if this process dies.
 */
static int
try_requests (const struct slots *slots, char *buf, uint64_t first,
              uint64_t count)
{
  const uint64_t place = first * BLOCK_SIZE;
  uint32_t bytes = (uint32_t) (count * BLOCK_SIZE);
  struct disk *disk = disk_create (slots, NULL);
  int r = -1;

  if (disk == NULL)
    return -1;
  memset (buf, 1, bytes);
  /* A part of a block without data, then with data, then whole blocks. */
  if (write_places (disk, buf, 512, place + 512) == 0 &&
      write_places (disk, buf, 512, place + 1024) == 0 &&
      write_places (disk, buf, bytes, place) == 0 &&
      read_places (disk, buf, bytes, place) == 0 &&
      zero_places (disk, 512, place + 512) == 0)
    r = 0;
  trim_places (disk, bytes, place);
  disk_free (disk);
  return r;
}

int
disk_warm_up (struct disk *disk)
{
  uint64_t first, count;
  char *buf;
  int r;

  buf = malloc (WARM_UP_BLOCKS * BLOCK_SIZE);
  if (buf == NULL) {
    log_error ("malloc: %m");
    return -1;
  }
  count = find_free_blocks (disk, WARM_UP_BLOCKS, &first);
  /* Without a reserve, the write would wait for a chunk. */
  if (disk->slots->elastic && elastic_reserve (disk->slots->elastic) == 0)
    count = 0;
  r = count > 0 ? try_requests (disk->slots, buf, first, count)
                : read_places (disk, buf, BLOCK_SIZE, 0);
  free (buf);
  return r;
}
