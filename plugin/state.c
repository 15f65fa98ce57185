/* nbdkit-vram: what a later server has to know of this disk besides its data
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

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "blockmap.h"
#include "chunk.h"
#include "size.h"
#include "state.h"

#define MAGIC       "nbdkVRAM"
#define BITS_AT     4096
#define SEALS       (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define NO_CHECKSUM offsetof (struct state_header, checksum)

_Static_assert(sizeof (struct state_header) == 80,
               "another layout of the header is another STATE_VERSION");
_Static_assert(sizeof (struct state_header) <= STATE_WORDS_AT, "no room");
_Static_assert(STATE_WORDS_AT + sizeof (struct state_words) <= BITS_AT,
               "no room");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "words are shared by processes");

/* FNV-1a: against damage, not against anyone. */
static uint64_t
checksum (const struct state_header *header)
{
  const unsigned char *p = (const unsigned char *) header;
  uint64_t sum = UINT64_C (0xcbf29ce484222325);

  for (size_t i = 0; i < NO_CHECKSUM; ++i)
    sum = (sum ^ p[i]) * UINT64_C (0x100000001b3);
  return sum;
}

static uint64_t
state_size (uint64_t disk_size)
{
  return BITS_AT +
         ROUND_UP (blockmap_bytes (disk_size / BLOCK_SIZE), BLOCK_SIZE);
}

static int
map (struct state *state)
{
  char *p = mmap (NULL, state->size, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_POPULATE, state->fd, 0);

  if (p == MAP_FAILED)
    return -1;
  state->header = (struct state_header *) p;
  state->words = (struct state_words *) (p + STATE_WORDS_AT);
  state->bits = p + BITS_AT;
  return 0;
}

int
state_create (struct state *state, const struct state_header *header)
{
  *state = (struct state) STATE_NONE;
  state->size = state_size (header->disk_size);
  state->fd = memfd_create ("nbdkit-vram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  /* Sealed, so that nobody who has a descriptor can take the pages away from
   * under a server, which would be SIGBUS.
   */
  if (state->fd == -1 || ftruncate (state->fd, (off_t) state->size) == -1 ||
      fcntl (state->fd, F_ADD_SEALS, SEALS) == -1 || map (state) == -1) {
    nbdkit_error ("cannot make memory that another server can take over: %m");
    state_close (state);
    return -1;
  }
  *state->header = *header;
  memcpy (state->header->magic, MAGIC, sizeof state->header->magic);
  state->header->version = STATE_VERSION;
  state->header->block_size = BLOCK_SIZE;
  state->header->checksum = checksum (state->header);
  atomic_store (&state->words->generation, 1);
  return 0;
}

/* What is wrong with HEADER of a state of SIZE bytes, or NULL. */
static const char *
find_fault (const struct state_header *header, uint64_t size)
{
  if (memcmp (header->magic, MAGIC, sizeof header->magic) != 0)
    return "it is damaged, or no disk of this plugin: its first bytes are "
           "others";
  /* Before the checksum, whose place may be another one in another version. */
  if (header->version != STATE_VERSION)
    return "another version of this plugin made it, which keeps its state in "
           "another way; start that version";
  if (header->checksum != checksum (header))
    return "its header is damaged: the checksum does not fit";
  if (header->block_size != BLOCK_SIZE || header->disk_size == 0 ||
      header->disk_size % BLOCK_SIZE != 0 ||
      header->disk_size > header->allocated || header->chunk_count == 0 ||
      header->chunk_count > CHUNKS_MAX || header->chunk_size == 0 ||
      header->chunk_size % BLOCK_SIZE != 0 ||
      (header->allocated - 1) / header->chunk_size + 1 != header->chunk_count)
    return "its sizes do not fit each other";
  if (size != state_size (header->disk_size))
    return "its block map is not of the disk's size";
  return NULL;
}

int
state_open (struct state *state, int fd)
{
  struct state_header header;
  const char *fault;
  struct stat st;
  int seals;

  *state = (struct state) STATE_NONE;
  state->fd = fd;
  if (fstat (fd, &st) == -1) {
    nbdkit_error ("adopt: fstat: %m");
    goto err;
  }
  /* Only a memfd has seals; without them its pages might go away. */
  seals = fcntl (fd, F_GET_SEALS);
  if (seals == -1 || (seals & SEALS) != SEALS) {
    fault = "it is not memory that a server of this plugin has made";
    goto err_fault;
  }
  state->size = (uint64_t) st.st_size;
  if (st.st_size < BITS_AT ||
      pread (fd, &header, sizeof header, 0) != (ssize_t) sizeof header) {
    fault = "it is damaged: too short";
    goto err_fault;
  }
  fault = find_fault (&header, state->size);
  if (fault)
    goto err_fault;
  if (map (state) == -1) {
    nbdkit_error ("adopt: mmap: %m");
    goto err;
  }
  return 0;

err_fault:
  nbdkit_error ("adopt: the disk cannot be taken over: %s", fault);
err:
  state_close (state);
  return -1;
}

bool
state_find_free (const struct state *state, uint64_t first, uint64_t end,
                 uint64_t *block)
{
  const uint64_t blocks = state->header->disk_size / BLOCK_SIZE;
  _Atomic uint64_t *words = state->bits;

  for (*block = first; *block < end; ++*block)
    if (*block >= blocks ||
        !((atomic_load (&words[*block / 64]) >> (*block % 64)) & 1))
      return true;
  return false;
}

void
state_close (struct state *state)
{
  if (state->header)
    munmap (state->header, state->size);
  if (state->fd != -1)
    close (state->fd);
  *state = (struct state) STATE_NONE;
}
