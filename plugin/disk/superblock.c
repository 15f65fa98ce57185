/* nbdkit-vram: describes the disk to the next server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "disk/blockmap.h"
#include "common/units.h"
#include "disk/superblock.h"

#define MAGIC       "nbdkVRAM"
#define BITS_AT     4096
#define SEALS       (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define NO_CHECKSUM offsetof (struct superblock_header, checksum)

_Static_assert(sizeof (struct superblock_header) == 80,
               "another layout of the header is another SUPERBLOCK_VERSION");
_Static_assert(sizeof (struct superblock_header) <= SUPERBLOCK_SHARED_AT,
               "no room");
_Static_assert(SUPERBLOCK_SHARED_AT + sizeof (struct superblock_shared) <=
                   SUPERBLOCK_SLOTS_AT,
               "no room");
_Static_assert(SUPERBLOCK_SLOTS_AT + CHUNKS_MAX * sizeof (uint64_t) <= BITS_AT,
               "no room");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "words are shared by processes");

/* FNV-1a: it detects damage, not attacks. */
static uint64_t
checksum (const struct superblock_header *header)
{
  const unsigned char *p = (const unsigned char *) header;
  uint64_t sum = UINT64_C (0xcbf29ce484222325);

  for (size_t i = 0; i < NO_CHECKSUM; ++i)
    sum = (sum ^ p[i]) * UINT64_C (0x100000001b3);
  return sum;
}

static uint64_t
superblock_size (uint64_t disk_size)
{
  return BITS_AT +
         ROUND_UP (blockmap_bytes (disk_size / BLOCK_SIZE), BLOCK_SIZE);
}

static void
find_parts (struct superblock *superblock, char *p)
{
  superblock->header = (struct superblock_header *) p;
  superblock->shared = (struct superblock_shared *) (p + SUPERBLOCK_SHARED_AT);
  superblock->slots = NULL;
  if (superblock->header->version == SUPERBLOCK_VERSION_ELASTIC)
    superblock->slots = (_Atomic uint64_t *) (p + SUPERBLOCK_SLOTS_AT);
  superblock->bits = p + BITS_AT;
}

static int
map (struct superblock *superblock)
{
  char *p = mmap (NULL, superblock->size, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_POPULATE, superblock->fd, 0);

  if (p == MAP_FAILED)
    return -1;
  find_parts (superblock, p);
  return 0;
}

int
superblock_create (struct superblock *superblock,
                   const struct superblock_header *header)
{
  *superblock = (struct superblock) SUPERBLOCK_NONE;
  superblock->size = superblock_size (header->disk_size);
  superblock->fd =
      memfd_create ("nbdkit-vram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  /* Sealed, so that no process with a descriptor can shrink the memfd, which
   * would give the server SIGBUS.
   */
  if (superblock->fd == -1 ||
      ftruncate (superblock->fd, (off_t) superblock->size) == -1 ||
      fcntl (superblock->fd, F_ADD_SEALS, SEALS) == -1 ||
      map (superblock) == -1) {
    log_error ("cannot make the superblock: %m");
    superblock_close (superblock);
    return -1;
  }
  *superblock->header = *header;
  memcpy (superblock->header->magic, MAGIC, sizeof superblock->header->magic);
  if (header->version != SUPERBLOCK_VERSION_ELASTIC)
    superblock->header->version = SUPERBLOCK_VERSION;
  superblock->header->block_size = BLOCK_SIZE;
  superblock->header->checksum = checksum (superblock->header);
  find_parts (superblock, (char *) superblock->header);
  atomic_store (&superblock->shared->generation, 1);
  return 0;
}

/* Returns what is wrong with HEADER of a superblock of SIZE bytes, or NULL. */
static const char *
find_fault (const struct superblock_header *header, uint64_t size)
{
  if (memcmp (header->magic, MAGIC, sizeof header->magic) != 0)
    return "it is damaged, or not of this plugin: wrong magic number";
  /* Before the checksum, which may lie elsewhere in another version. */
  if (!superblock_version_known (header->version))
    return "it was made by another version of this plugin; start that version";
  if (header->checksum != checksum (header))
    return "its header is damaged: the checksum is wrong";
  if (header->block_size != BLOCK_SIZE || header->disk_size == 0 ||
      header->disk_size % BLOCK_SIZE != 0 ||
      header->disk_size > header->allocated || header->chunk_count == 0 ||
      header->chunk_count > CHUNKS_MAX || header->chunk_size == 0 ||
      header->chunk_size % BLOCK_SIZE != 0 ||
      (header->chunk_size & (header->chunk_size - 1)) != 0 ||
      (header->allocated - 1) / header->chunk_size + 1 != header->chunk_count)
    return "its sizes contradict each other";
  if (size != superblock_size (header->disk_size))
    return "its block map does not fit the disk's size";
  return NULL;
}

/* Whether the block map says that slot I holds data. */
static bool
slot_has_data (const struct superblock *superblock, unsigned i)
{
  const struct superblock_header *header = superblock->header;
  const _Atomic uint64_t *words = superblock->bits;
  uint64_t per_slot = header->chunk_size / BLOCK_SIZE;
  uint64_t end = header->disk_size / BLOCK_SIZE;

  if (end > (i + 1) * per_slot)
    end = (i + 1) * per_slot;
  for (uint64_t block = i * per_slot; block < end; ++block)
    if (atomic_load (&words[block / 64]) >> (block % 64) & 1)
      return true;
  return false;
}

/* Returns what is wrong with the slot table, or NULL. */
static const char *
find_slot_fault (const struct superblock *superblock)
{
  bool named[CHUNKS_MAX] = { false };
  uint64_t word;

  if (superblock->slots == NULL)
    return NULL;
  for (unsigned i = 0; i < superblock->header->chunk_count; ++i) {
    word = atomic_load (&superblock->slots[i]);
    switch (SLOT_STATE (word)) {
    case SLOT_EMPTY:
      if (slot_has_data (superblock, i))
        return "it is damaged: an empty slot holds data";
      break;
    case SLOT_VRAM:
      if (SLOT_CHUNK (word) >= superblock->header->chunk_count ||
          named[SLOT_CHUNK (word)])
        return "it is damaged: its slots do not fit its chunks";
      named[SLOT_CHUNK (word)] = true;
      break;
    case SLOT_SPILL:
      break;
    default:
      return "it is damaged: a slot has an unknown state";
    }
  }
  return NULL;
}

int
superblock_open (struct superblock *superblock, int fd)
{
  struct superblock_header header;
  const char *fault;
  struct stat st;
  int seals;

  *superblock = (struct superblock) SUPERBLOCK_NONE;
  superblock->fd = fd;
  if (fstat (fd, &st) == -1) {
    log_error ("adopt: fstat: %m");
    goto err;
  }
  /* Only a memfd has seals.  Without them its pages could be removed. */
  seals = fcntl (fd, F_GET_SEALS);
  if (seals == -1 || (seals & SEALS) != SEALS) {
    fault = "it is not a memfd of this plugin";
    goto err_fault;
  }
  superblock->size = (uint64_t) st.st_size;
  if (st.st_size < BITS_AT ||
      pread (fd, &header, sizeof header, 0) != (ssize_t) sizeof header) {
    fault = "it is damaged: too short";
    goto err_fault;
  }
  fault = find_fault (&header, superblock->size);
  if (fault)
    goto err_fault;
  if (map (superblock) == -1) {
    log_error ("adopt: mmap: %m");
    goto err;
  }
  fault = find_slot_fault (superblock);
  if (fault)
    goto err_fault;
  return 0;

err_fault:
  log_error ("adopt: the disk cannot be taken over: %s", fault);
err:
  superblock_close (superblock);
  return -1;
}

bool
superblock_find_free (const struct superblock *superblock, uint64_t first,
                      uint64_t end, uint64_t *block)
{
  const uint64_t blocks = superblock->header->disk_size / BLOCK_SIZE;
  _Atomic uint64_t *words = superblock->bits;

  for (*block = first; *block < end; ++*block)
    if (*block >= blocks ||
        !((atomic_load (&words[*block / 64]) >> (*block % 64)) & 1))
      return true;
  return false;
}

void
superblock_close (struct superblock *superblock)
{
  if (superblock->header)
    munmap (superblock->header, superblock->size);
  if (superblock->fd != -1)
    close (superblock->fd);
  *superblock = (struct superblock) SUPERBLOCK_NONE;
}
