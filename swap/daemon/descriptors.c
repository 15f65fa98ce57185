/* nbdkit-vram: the descriptors with which a disk outlives its server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk/superblock.h"
#include "descriptors.h"
#include "msg.h"

/* As the plugin calls them. */
#define STATE "vram-state"
#define CHUNK "vram-chunk-"
#define GPU   "vram-gpu"
#define SPILL "vram-spill"

/* Where the superblock has the block map. */
#define SUPERBLOCK_BITS_AT 4096

#define FIRST_PASSED 3 /* systemd's first descriptor */

bool
descriptors_know (const char *name)
{
  size_t n = strlen (name);

  return strcmp (name, STATE) == 0 || strcmp (name, GPU) == 0 ||
         strcmp (name, SPILL) == 0 ||
         (strncmp (name, CHUNK, strlen (CHUNK)) == 0 &&
          n < sizeof ((struct descriptor *) 0)->name);
}

static uint64_t
count_blocks (const struct superblock_header *h)
{
  return h->disk_size / h->block_size;
}

const struct superblock_header *
descriptors_header (const struct descriptors *d)
{
  for (size_t i = 0; i < d->n; i++) {
    const struct descriptor *one = &d->one[i];
    const struct superblock_header *header = one->locked;

    if (header && one->size >= SUPERBLOCK_BITS_AT &&
        superblock_version_known (header->version) && header->block_size > 0 &&
        one->size >= SUPERBLOCK_BITS_AT + (count_blocks (header) + 7) / 8)
      return header;
  }
  return NULL;
}

struct superblock_shared *
descriptors_shared (const struct descriptors *d)
{
  const struct superblock_header *header = descriptors_header (d);

  return header ? (void *) ((char *) header + SUPERBLOCK_SHARED_AT) : NULL;
}

/* Between two servers only this process maps the superblock.  Its pages must
 * not be swapped out to the disk that it describes.
 */
static void
lock_state (struct descriptor *one)
{
  struct stat st;
  void *p;

  if (fstat (one->fd, &st) == -1 || st.st_size <= 0)
    return;
  p = mmap (NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, one->fd, 0);
  if (p == MAP_FAILED)
    return;
  one->locked = p;
  one->size = st.st_size;
  if (mlock (p, one->size) == -1)
    log_warning ("cannot lock the superblock in memory: mlock: %m; it may be "
                 "swapped out to the disk that it describes");
}

static void
release (struct descriptor *one)
{
  if (one->locked)
    munmap (one->locked, one->size);
  close (one->fd);
}

void
descriptors_add (struct descriptors *d, const char *name, int fd)
{
  struct descriptor *one;

  descriptors_remove (d, name);
  if (d->n == DESCRIPTORS_MAX || !descriptors_know (name)) {
    close (fd);
    return;
  }
  fcntl (fd, F_SETFD, FD_CLOEXEC);
  one = &d->one[d->n++];
  *one = (struct descriptor){ .fd = fd };
  snprintf (one->name, sizeof one->name, "%s", name);
  if (strcmp (name, STATE) == 0)
    lock_state (one);
}

void
descriptors_remove (struct descriptors *d, const char *name)
{
  char that[sizeof d->one[0].name];

  /* NAME may be in an element that is overwritten below. */
  snprintf (that, sizeof that, "%s", name);
  for (size_t i = 0; i < d->n; i++)
    if (strcmp (d->one[i].name, that) == 0) {
      release (&d->one[i]);
      d->one[i--] = d->one[--d->n];
    }
}

static const struct descriptor *
find (const struct descriptors *d, const char *name)
{
  for (size_t i = 0; i < d->n; i++)
    if (strcmp (d->one[i].name, name) == 0)
      return &d->one[i];
  return NULL;
}

bool
descriptors_has (const struct descriptors *d, const char *name)
{
  return find (d, name) != NULL;
}

/* Whether both are the same open file. */
static bool
same_file (int one, int other)
{
  const pid_t self = getpid ();

  return syscall (SYS_kcmp, self, self, KCMP_FILE, one, other) == 0;
}

void
descriptors_take (struct descriptors *d)
{
  const char *pid = getenv ("LISTEN_PID"), *fds = getenv ("LISTEN_FDS");
  char *names = getenv ("LISTEN_FDNAMES"), *name;
  int n = 0;

  if (pid && fds && atol (pid) == getpid ())
    n = atoi (fds);
  for (int i = 0; i < n; i++) {
    name = names ? strsep (&names, ":") : NULL;
    /* systemd may pass one file twice. */
    if (name && find (d, name)) {
      if (!same_file (find (d, name)->fd, FIRST_PASSED + i)) {
        log_error ("received two different descriptors named %s: keeping "
                   "both; the disk cannot be taken over if its server dies",
                   name);
        d->ambiguous = true;
        continue;
      }
      close (FIRST_PASSED + i);
      continue;
    }
    descriptors_add (d, name ? name : "", FIRST_PASSED + i);
  }
  unsetenv ("LISTEN_PID");
  unsetenv ("LISTEN_FDS");
  unsetenv ("LISTEN_FDNAMES");
}

bool
descriptors_complete (const struct descriptors *d)
{
  const struct superblock_shared *words = descriptors_shared (d);

  /* The state comes last. */
  return !d->ambiguous && descriptors_has (d, STATE) &&
         !(words && atomic_load (&words->ended) != 0);
}

void
descriptors_tell (const struct descriptors *d, bool ends)
{
  struct superblock_shared *words = descriptors_shared (d);

  if (words)
    atomic_store (&words->supervisor,
                  ends ? SUPERVISOR_ENDS : SUPERVISOR_KEEPS);
}

void
descriptors_limit (const struct descriptors *d, int64_t limit)
{
  struct superblock_shared *words = descriptors_shared (d);
  /* 0 stands for the parameter limit=. */
  uint64_t word = 0;

  if (limit == INT64_MAX)
    word = UINT64_MAX;
  else if (limit >= 0)
    word = limit > 0 ? limit : 1;
  if (!words || atomic_load (&words->elastic) != ELASTIC_YES ||
      atomic_load (&words->limit) == word)
    return;
  atomic_store (&words->limit, word);
  atomic_fetch_add (&words->wake, 1);
  syscall (SYS_futex, &words->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int64_t
count_bits (const unsigned char *bits, uint64_t n)
{
  int64_t count = 0;

  for (uint64_t i = 0; i < n / 8; i++)
    count += __builtin_popcount (bits[i]);
  if (n % 8)
    count += __builtin_popcount (bits[n / 8] & ((1u << n % 8) - 1));
  return count;
}

int64_t
descriptors_used (const struct descriptors *d)
{
  const struct superblock_header *h = descriptors_header (d);

  return h ? count_bits ((const unsigned char *) h + SUPERBLOCK_BITS_AT,
                         count_blocks (h)) *
                 h->block_size
           : 0;
}

int64_t
descriptors_least (const struct descriptors *d)
{
  const struct superblock_header *h = descriptors_header (d);
  const struct superblock_shared *shared = descriptors_shared (d);
  const _Atomic uint64_t *slots =
      (const void *) ((const char *) h + SUPERBLOCK_SLOTS_AT);
  const unsigned char *bits = (const unsigned char *) h + SUPERBLOCK_BITS_AT;
  const uint64_t blocks = count_blocks (h),
                 per_slot = h->chunk_size / h->block_size;
  int64_t least = 0;

  if (atomic_load (&shared->spill_size) > 0)
    return atomic_load (&shared->vram_least);
  /* Without a spill file, it is the slots that hold data.  The server itself
   * counts them only now and then.
   */
  for (uint64_t i = 0; i < CHUNKS_MAX && i * per_slot < blocks; i++) {
    const uint64_t left = blocks - i * per_slot;

    if (SLOT_STATE (atomic_load (&slots[i])) == SLOT_VRAM &&
        count_bits (bits + i * per_slot / 8,
                    left < per_slot ? left : per_slot) > 0)
      least += h->chunk_size;
  }
  return least;
}

const char *
descriptors_adopt (const struct descriptors *d, char *buf, size_t size)
{
  size_t used = snprintf (buf, size, "adopt=");

  for (size_t i = 0; i < d->n && used < size; i++)
    used += snprintf (buf + used, size - used, "%s%d:%s", i ? "," : "",
                      d->one[i].fd, d->one[i].name);
  return buf;
}

void
descriptors_inherit (const struct descriptors *d)
{
  for (size_t i = 0; i < d->n; i++)
    fcntl (d->one[i].fd, F_SETFD, 0);
}
