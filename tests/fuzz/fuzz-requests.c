/* nbdkit-vram: fuzzes the disk with requests, and compares it with an array
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "disk/blockmap.h"
#include "disk/disk.h"
#include "disk/slots.h"
#include "fuzz.h"
#include "memory-provider.h"

/* More than a claim can cover. */
#define BLOCKS_MAX (CLAIM_BLOCKS + 40)
#define BYTES_MAX  ((size_t) BLOCKS_MAX * BLOCK_SIZE)

/* The longest request, which is longer than a claim. */
#define LONGEST ((CLAIM_BLOCKS + 8) * BLOCK_SIZE)

/* A copy that fails has copied a part of its bytes. */
static struct memory_provider vram;
static struct slots slots;
static uint64_t size;
static unsigned fail_after; /* the number of the copy that fails; 0: none */
static size_t fail_part;    /* how many bytes it copies */

static unsigned char model[BYTES_MAX];
static unsigned char buffer[LONGEST], before[LONGEST];
static uint64_t map_bits[BLOCKS_MAX / 64 + 1];

static size_t
before_copy (bool write, size_t count)
{
  (void) write;
  if (fail_after > 0 && --fail_after == 0)
    return fail_part < count ? fail_part : count - 1;
  return count;
}

/* ---- */

static struct disk *disk;

static void
create (bool own_bits)
{
  disk = disk_create (&slots, own_bits ? NULL : map_bits);
  MUST (disk != NULL);
}

/* Bytes of the model are zeros. */
static bool
is_zeros (uint64_t offset, uint64_t count)
{
  const unsigned char *bytes = model + offset;

  return bytes[0] == 0 && memcmp (bytes, bytes + 1, count - 1) == 0;
}

/* Checks every byte of the disk, and that holes are read without VRAM. */
static void
check_all (void)
{
  uint64_t n;

  for (uint64_t at = 0; at < size; at += n) {
    n = size - at < LONGEST ? size - at : LONGEST;
    memset (buffer, 0xee, n);
    MUST (disk_read (disk, buffer, (uint32_t) n, at) == 0);
    MUST (memcmp (buffer, model + at, n) == 0);
  }
}

static void
check_extents (uint64_t offset, uint64_t end)
{
  uint64_t n, used = 0;
  unsigned reads;
  bool hole;

  for (uint64_t at = offset; at < end; at += n) {
    n = disk_extent (disk, at, end, &hole);
    MUST (n > 0 && n <= end - at);
    MUST (at + n == end || (at + n) % BLOCK_SIZE == 0);
    if (!hole) {
      used += n;
      continue;
    }
    MUST (is_zeros (at, n));
    reads = atomic_load (&vram.reads);
    MUST (disk_read (disk, buffer, (uint32_t) (n < LONGEST ? n : LONGEST),
                     at) == 0);
    MUST (atomic_load (&vram.reads) == reads);
  }
  if (offset == 0 && end == size)
    MUST (disk_used (disk) == used);
}

/* After a write that failed, each of the COUNT bytes must be that of BUFFER or
 * that of BEFORE.
 */
static void
accept_either (uint64_t offset, uint32_t count)
{
  for (uint32_t i = 0; i < count; ++i) {
    unsigned char byte;

    MUST (disk_read (disk, &byte, 1, offset + i) == 0);
    MUST (byte == buffer[i] || byte == before[i]);
    model[offset + i] = byte;
  }
}

static void
fill_buffer (struct input *input, uint32_t count, uint64_t offset)
{
  uint8_t pattern = take_byte (input), value = take_byte (input) | 1;

  for (uint32_t i = 0; i < count; ++i) {
    uint64_t at = offset + i;

    switch (pattern % 6) {
    case 0:
      buffer[i] = (unsigned char) (value + at * 7) | 1;
      break;
    case 1: /* some blocks of zeros */
      buffer[i] = (at / BLOCK_SIZE * value >> 3) & 1 ? value : 0;
      break;
    case 2: /* runs of such blocks */
      buffer[i] = (at / BLOCK_SIZE * value >> 7) & 1 ? value : 0;
      break;
    case 3: /* one byte in each block */
      buffer[i] = at % BLOCK_SIZE == BLOCK_SIZE - 1 ? value : 0;
      break;
    case 4:
      buffer[i] = i == 0 ? value : 0;
      break;
    default:
      buffer[i] = 0;
    }
  }
}

/* The offset and count of a request, often at borders. */
static void
choose_range (struct input *input, uint64_t *offset, uint32_t *count)
{
  uint8_t how = take_byte (input);

  *offset = (how & 1 ? take_number (input, 3)
                     : (uint64_t) take_number (input, 2) * BLOCK_SIZE) %
            size;
  if (how & 2)
    *count = take_byte (input);
  else if (how & 4)
    *count = take_number (input, 2);
  else if (how & 8)
    *count = take_number (input, 2) % (LONGEST / BLOCK_SIZE + 1) * BLOCK_SIZE;
  else
    *count = take_byte (input) % 40 * BLOCK_SIZE;
  if (how & 16)
    *offset ^= 1;
  if (*count == 0)
    *count = 1;
  if (*offset >= size)
    *offset = size - 1;
  if (*count > size - *offset)
    *count = (uint32_t) (size - *offset);
  if (*count > LONGEST)
    *count = LONGEST;
}

static void
do_write (struct input *input, uint64_t offset, uint32_t count)
{
  fill_buffer (input, count, offset);
  memcpy (before, model + offset, count);
  if (disk_write (disk, buffer, count, offset) == -1) {
    MUST (errno == EIO && fail_after == 0);
    accept_either (offset, count);
  }
  else
    memcpy (model + offset, buffer, count);
}

static void
do_zero (uint64_t offset, uint32_t count)
{
  uint64_t first = (offset + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
  uint64_t end = (offset + count) / BLOCK_SIZE * BLOCK_SIZE;

  memcpy (before, model + offset, count);
  memset (buffer, 0, count);
  if (disk_zero (disk, count, offset) == -1) {
    MUST (errno == EIO && fail_after == 0);
    accept_either (offset, count);
    return;
  }
  memset (model + offset, 0, count);
  if (first < end) {
    bool hole;

    MUST (disk_extent (disk, first, end, &hole) == end - first && hole);
  }
}

static void
do_trim (uint64_t offset, uint32_t count)
{
  uint64_t first = (offset + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
  uint64_t end = (offset + count) / BLOCK_SIZE * BLOCK_SIZE;
  unsigned copies = atomic_load (&vram.reads) + atomic_load (&vram.writes);

  disk_trim (disk, count, offset);
  MUST (atomic_load (&vram.reads) + atomic_load (&vram.writes) == copies);
  if (first < end) {
    bool hole;

    memset (model + first, 0, end - first);
    MUST (disk_extent (disk, first, end, &hole) == end - first && hole);
  }
}

static void
do_read (uint64_t offset, uint32_t count)
{
  memset (buffer, 0xee, count);
  if (disk_read (disk, buffer, count, offset) == -1)
    MUST (errno == EIO && fail_after == 0);
  else
    MUST (memcmp (buffer, model + offset, count) == 0);
}

static void
step (struct input *input)
{
  uint8_t what = take_byte (input);
  uint64_t offset;
  uint32_t count;

  choose_range (input, &offset, &count);
  switch (what % 16) {
  case 0:
  case 1:
  case 2:
  case 3:
  case 4:
  case 5:
    do_write (input, offset, count);
    break;
  case 6:
  case 7:
    do_zero (offset, count);
    break;
  case 8:
  case 9:
    do_trim (offset, count);
    break;
  case 10:
    check_extents (offset, offset + count);
    break;
  case 11: /* a copy of one of the next requests fails */
    fail_after = 1 + take_byte (input) % 3;
    fail_part = take_number (input, 2);
    return;
  default:
    do_read (offset, count);
  }
  fail_after = what % 16 == 11 ? fail_after : 0;
}

/* The next process takes over the block map. */
static void
restart (void)
{
  disk_free (disk);
  create (false);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t data_size)
{
  static const uint32_t sizes[] = { 1, 3, 64, 70, 130, 70, 20 };
  struct input input = { data, data_size };
  uint8_t how = take_byte (&input);
  bool own_bits = how & 8;

  /* The large disk takes as long as a hundred others. */
  size = how >= 0xf0 ? BYTES_MAX : sizes[how % 7] * (uint64_t) BLOCK_SIZE;
  fail_after = 0;
  memory_provider_begin (&vram, 16 * BLOCK_SIZE, BYTES_MAX);
  vram.before = before_copy;
  MUST (slots_allocate (&slots, &vram.provider, size, size, 0) == 0);
  memset (model, 0, size);
  memset (map_bits, 0, sizeof map_bits);
  create (own_bits);
  for (unsigned i = 0; input.left > 0 && i < 200; ++i) {
    step (&input);
    if (!own_bits && i % 16 == 15)
      restart ();
  }
  fail_after = 0;
  check_all ();
  check_extents (0, size);
  disk_free (disk);
  slots_free (&slots);
  return 0;
}
