/* nbdkit-vram: tests of the superblock: its content, and what is refused
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk/blockmap.h"
#include "check.h"
#include "gpu/cuda/chunk.h"
#include "nbdkit-stubs.h"
#include "common/units.h"
#include "disk/superblock.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* The offsets that another build of this plugin relies on. */
#define VERSION_AT  8
#define CHECKSUM_AT 72
#define HEADER_END  80
#define WORDS_AT    2048
#define SLOTS_AT    3072
#define BITS_AT     4096

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* 12 MiB in three chunks of 4 MiB and one more block: 3 * 1024 + 1 blocks. */
#define DISK   (12 * MiB + BLOCK_SIZE)
#define BLOCKS (DISK / BLOCK_SIZE)

static const struct superblock_header example = {
  .disk_size = DISK,
  .asked = 16 * MiB,
  .allocated = 14 * MiB,
  .chunk_size = 4 * MiB,
  .chunk_count = 4,
  .gpu = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
};

/* Counts the descriptors of this process. */
static unsigned
descriptors (void)
{
  unsigned n = 0;

  for (int fd = 0; fd < 200; ++fd)
    n += fcntl (fd, F_GETFD) != -1;
  return n;
}

static uint64_t
file_size (int fd)
{
  struct stat st;

  CHECK_EQ (fstat (fd, &st), 0);
  return (uint64_t) st.st_size;
}

/* FNV-1a, 64 bits, of the bytes before the checksum. */
static uint64_t
checksum (const struct superblock_header *header)
{
  const unsigned char *p = (const unsigned char *) header;
  uint64_t sum = UINT64_C (0xcbf29ce484222325);

  for (size_t i = 0; i < CHECKSUM_AT; ++i) {
    sum ^= p[i];
    sum *= UINT64_C (0x100000001b3);
  }
  return sum;
}

/* Returns a descriptor of a superblock that superblock_create has made and its
 * server has closed.
 */
static int
leave (void)
{
  struct superblock superblock;
  int fd;

  stub_messages_clear ();
  CHECK_EQ (superblock_create (&superblock, &example), 0);
  fd = fcntl (superblock.fd, F_DUPFD_CLOEXEC, 3);
  CHECK (fd != -1);
  superblock_close (&superblock);
  return fd;
}

static struct superblock_header
read_header (int fd)
{
  struct superblock_header header;

  CHECK_EQ (pread (fd, &header, sizeof header, 0), (ssize_t) sizeof header);
  return header;
}

static void
write_header (int fd, const struct superblock_header *header)
{
  CHECK_EQ (pwrite (fd, header, sizeof *header, 0), (ssize_t) sizeof *header);
}

/* A server gets FD and must refuse it with these WORDS, close it, and not
 * change its content.
 */
static void
refuses (int fd, const char *words)
{
  static unsigned char before[64 * KiB], after[64 * KiB];
  const unsigned had = descriptors ();
  int given = fcntl (fd, F_DUPFD_CLOEXEC, 3);
  ssize_t n = pread (fd, before, sizeof before, 0);
  struct superblock superblock;

  stub_messages_clear ();
  CHECK_EQ (superblock_open (&superblock, given), -1);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "adopt: ");
  CHECK_HOLDS (stub_errors (), words);
  CHECK_EQ (superblock.fd, -1);
  CHECK (superblock.header == NULL && superblock.shared == NULL &&
         superblock.bits == NULL);
  CHECK_EQ (descriptors (), had);
  CHECK_EQ (pread (fd, after, sizeof after, 0), n);
  CHECK (n <= 0 || memcmp (before, after, (size_t) n) == 0);
}

/* A server accepts FD. */
static void
accepts (int fd)
{
  const unsigned had = descriptors ();
  struct superblock superblock;

  stub_messages_clear ();
  CHECK_EQ (superblock_open (&superblock, fcntl (fd, F_DUPFD_CLOEXEC, 3)), 0);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_EQ (descriptors (), had + 1);
  superblock_close (&superblock);
  CHECK_EQ (descriptors (), had);
}

/* The superblock of a new disk. */
static void
test_create (void)
{
  const unsigned had = descriptors ();
  const unsigned char *bits;
  struct superblock superblock;
  unsigned char pages[2];
  void *start;
  size_t size;

  stub_messages_clear ();
  CHECK_EQ (superblock_create (&superblock, &example), 0);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK (fcntl (superblock.fd, F_GETFD) & FD_CLOEXEC);
  CHECK_EQ (fcntl (superblock.fd, F_GET_SEALS) & SEALS, SEALS);
  CHECK_EQ (superblock.size, file_size (superblock.fd));
  CHECK_EQ (superblock.size, BITS_AT + BLOCK_SIZE);

  CHECK (memcmp (superblock.header->magic, "nbdkVRAM", 8) == 0);
  CHECK_EQ (superblock.header->version, SUPERBLOCK_VERSION);
  CHECK_EQ (superblock.header->block_size, BLOCK_SIZE);
  CHECK_EQ (superblock.header->disk_size, example.disk_size);
  CHECK_EQ (superblock.header->asked, example.asked);
  CHECK_EQ (superblock.header->allocated, example.allocated);
  CHECK_EQ (superblock.header->chunk_size, example.chunk_size);
  CHECK_EQ (superblock.header->chunk_count, example.chunk_count);
  CHECK (memcmp (&superblock.header->gpu, &example.gpu, sizeof example.gpu) ==
         0);
  CHECK_EQ (superblock.header->checksum, checksum (superblock.header));

  CHECK ((char *) superblock.shared == (char *) superblock.header + WORDS_AT);
  CHECK_EQ (atomic_load (&superblock.shared->generation), 1);
  CHECK_EQ (atomic_load (&superblock.shared->ended), 0);
  CHECK_EQ (atomic_load (&superblock.shared->limits_known), 0);
  CHECK ((char *) superblock.bits == (char *) superblock.header + BITS_AT);
  bits = superblock.bits;
  for (size_t i = 0; i < BLOCK_SIZE; ++i)
    CHECK_EQ (bits[i], 0);

  /* No process can truncate it. */
  CHECK_EQ (ftruncate (superblock.fd, 0), -1);
  CHECK_EQ (errno, EPERM);
  CHECK_EQ (ftruncate (superblock.fd, (off_t) superblock.size + 4096), -1);
  CHECK_EQ (fcntl (superblock.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);

  start = superblock.header;
  size = superblock.size;
  superblock_close (&superblock);
  CHECK_EQ (superblock.fd, -1);
  CHECK (superblock.header == NULL);
  CHECK_EQ (descriptors (), had);
  CHECK_EQ (mincore (start, size, pages), -1);
  CHECK_EQ (errno, ENOMEM);
  /* A second time does nothing. */
  superblock_close (&superblock);
}

/* The layout that another build expects.  A change that makes this test fail
 * needs another SUPERBLOCK_VERSION.
 */
static void
test_layout (void)
{
  static const unsigned char expected[HEADER_END] = {
    'n', 'b',  'd', 'k', 'V', 'R', 'A', 'M', /* magic */
    1,   0,    0,   0,                       /* version */
    0,   0x10, 0,   0,                       /* block size */
    0,   0x10, 192, 0,   0,   0,   0,   0,   /* disk size: 0xc01000 */
    0,   0,    0,   1,   0,   0,   0,   0,   /* asked: 0x1000000 */
    0,   0,    224, 0,   0,   0,   0,   0,   /* allocated: 0xe00000 */
    0,   0,    64,  0,   0,   0,   0,   0,   /* chunk size: 0x400000 */
    4,   0,    0,   0,                       /* chunks */
    0,   0,    0,   0,                       /* reserved */
    1,   2,    3,   4,   5,   6,   7,   8,   /* GPU */
    9,   10,   11,  12,  13,  14,  15,  16,  /* GPU */
    104, 65,   11,  204, 99,  166, 223, 36,  /* checksum */
  };
  unsigned char is[HEADER_END];
  int fd = leave ();

  CHECK_EQ (pread (fd, is, sizeof is, 0), (ssize_t) sizeof is);
  for (size_t i = 0; i < sizeof is; ++i)
    if (is[i] != expected[i])
      check_fail (__FILE__, __LINE__, "byte %zu is %u, not %u", i, is[i],
                  expected[i]);
  close (fd);
  CHECK_EQ (offsetof (struct superblock_shared, generation), 0);
  CHECK_EQ (offsetof (struct superblock_shared, ended), 8);
  CHECK_EQ (offsetof (struct superblock_shared, limits_known), 16);
  CHECK_EQ (offsetof (struct superblock_shared, read_max), 24);
  CHECK_EQ (offsetof (struct superblock_shared, read_max_rested), 32);
  CHECK_EQ (offsetof (struct superblock_shared, write_max), 40);
  CHECK_EQ (offsetof (struct superblock_shared, elastic), 288);
  CHECK_EQ (offsetof (struct superblock_shared, given_back), 336);
  CHECK_EQ (offsetof (struct superblock_shared, limit), 392);
  CHECK_EQ (offsetof (struct superblock_shared, wake), 408);
}

/* An elastic disk: the next server finds each slot in its place, and refuses
 * an impossible table.
 */
static void
test_elastic (void)
{
  static const struct {
    uint64_t words[4], bits, last; /* bits of slot 1: first and last word */
    const char *fault;
  } table[] = {
    { { 0 }, 0, 0, NULL },
    { { SLOT_IN_VRAM (3), SLOT_IN_VRAM (0), SLOT_SPILL, 0 }, 1, 0, NULL },
    { { 0, SLOT_SPILL, SLOT_SPILL, SLOT_SPILL }, 1, 0, NULL },
    { { 0, SLOT_IN_VRAM (1) | SLOT_FROZEN | SLOT_LOCKED }, 1, 0, NULL },
    { { 0 }, 1, 0, "an empty slot holds data" },
    { { 0 }, 0, UINT64_C (1) << 63, "an empty slot holds data" },
    { { 0, SLOT_EMPTY | SLOT_LOCKED }, 1, 0, "an empty slot holds data" },
    { { SLOT_IN_VRAM (1), 0, 0, SLOT_IN_VRAM (1) }, 0, 0, "slots do not fit" },
    { { SLOT_IN_VRAM (4) }, 0, 0, "slots do not fit" },
    { { SLOT_IN_VRAM (255) }, 0, 0, "slots do not fit" },
    { { 3 }, 0, 0, "a slot has an unknown state" },
  };
  struct superblock_header header = example;

  header.version = SUPERBLOCK_VERSION_ELASTIC;
  header.allocated = 16 * MiB;
  for (size_t i = 0; i < COUNT (table); ++i) {
    struct superblock superblock, next;
    uint64_t *bits;

    printf ("  row %zu\n", i);
    stub_messages_clear ();
    CHECK_EQ (superblock_create (&superblock, &header), 0);
    CHECK_EQ (superblock.header->version, 2);
    CHECK_EQ (superblock.header->checksum, checksum (superblock.header));
    CHECK ((char *) superblock.slots == (char *) superblock.header + SLOTS_AT);
    for (unsigned slot = 0; slot < 4; ++slot) {
      CHECK_EQ (superblock.slots[slot], 0);
      superblock.slots[slot] = table[i].words[slot];
    }
    bits = superblock.bits;
    bits[4 * MiB / BLOCK_SIZE / 64] = table[i].bits;
    bits[8 * MiB / BLOCK_SIZE / 64 - 1] |= table[i].last;
    if (table[i].fault)
      refuses (superblock.fd, table[i].fault);
    else {
      accepts (superblock.fd);
      CHECK_EQ (
          superblock_open (&next, fcntl (superblock.fd, F_DUPFD_CLOEXEC, 3)),
          0);
      CHECK_EQ (next.slots[0], table[i].words[0]);
      superblock_close (&next);
    }
    superblock_close (&superblock);
  }
}

/* One bit for each block, in whole pages. */
static void
test_sizes (void)
{
  static const struct {
    uint64_t disk, bytes;
  } table[] = {
    { BLOCK_SIZE, 4096 },
    { 128 * MiB, 4096 },
    { 128 * MiB + BLOCK_SIZE, 8192 },
    { 256 * MiB, 8192 },
    { 7 * GiB, 7 * GiB / BLOCK_SIZE / 8 },
    { 80 * GiB, 80 * GiB / BLOCK_SIZE / 8 },
  };

  for (size_t i = 0; i < COUNT (table); ++i) {
    struct superblock_header header = example;
    struct superblock superblock, next;

    header.disk_size = table[i].disk;
    header.allocated = ROUND_UP (table[i].disk, 2 * MiB);
    header.chunk_size = 64 * MiB;
    while (header.chunk_size < header.allocated)
      header.chunk_size *= 2;
    header.chunk_count = 1;
    CHECK_EQ (superblock_create (&superblock, &header), 0);
    CHECK_EQ (superblock.size, BITS_AT + table[i].bytes);
    CHECK (blockmap_bytes (table[i].disk / BLOCK_SIZE) <= table[i].bytes);
    CHECK_EQ (
        superblock_open (&next, fcntl (superblock.fd, F_DUPFD_CLOEXEC, 3)), 0);
    CHECK_EQ (next.size, superblock.size);
    superblock_close (&next);
    superblock_close (&superblock);
  }
}

/* The next server finds the same. */
static void
test_open (void)
{
  struct superblock superblock, next;
  int fd;

  stub_messages_clear ();
  CHECK_EQ (superblock_create (&superblock, &example), 0);
  atomic_store (&superblock.shared->generation, 41);
  atomic_store (&superblock.shared->limits_known, 1);
  atomic_store (&superblock.shared->read_max, 4711);
  ((unsigned char *) superblock.bits)[17] = 0x5a;
  fd = fcntl (superblock.fd, F_DUPFD_CLOEXEC, 3);
  superblock_close (&superblock);

  CHECK_EQ (superblock_open (&next, fd), 0);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_EQ (next.fd, fd);
  CHECK_EQ (next.header->disk_size, example.disk_size);
  CHECK_EQ (next.header->asked, example.asked);
  CHECK (memcmp (&next.header->gpu, &example.gpu, sizeof example.gpu) == 0);
  CHECK_EQ (atomic_load (&next.shared->generation), 41);
  CHECK_EQ (atomic_load (&next.shared->limits_known), 1);
  CHECK_EQ (atomic_load (&next.shared->read_max), 4711);
  CHECK_EQ (((unsigned char *) next.bits)[17], 0x5a);
  superblock_close (&next);
  CHECK_EQ (fcntl (fd, F_GETFD), -1);
}

/* After a server's death at any time, the blocks that it had published hold
 * data, and those that it had only claimed do not.
 */
static void
test_bits_survive (void)
{
  const unsigned rounds = check_effort (20);

  for (unsigned round = 0; round < rounds; ++round) {
    struct rnd rnd;
    struct superblock superblock, next;
    struct blockmap *map;
    int said[2], fd, status;
    uint64_t last, published = 0;
    pid_t server;

    rnd_begin (&rnd, round);
    CHECK_EQ (superblock_create (&superblock, &example), 0);
    fd = fcntl (superblock.fd, F_DUPFD_CLOEXEC, 3);
    CHECK_EQ (pipe2 (said, O_CLOEXEC), 0);
    server = fork ();
    CHECK (server != -1);
    if (server == 0) {
      /* Publish each block in turn, and then acknowledge it. */
      map = blockmap_create (BLOCKS, superblock.bits);
      for (uint64_t i = 0; map && i < BLOCKS; ++i) {
        struct claim claim;

        if (!blockmap_claim (map, i, 1, &claim))
          break;
        if (i % 3 == 0)
          continue; /* only claimed when it dies */
        blockmap_publish (map, &claim);
        if (write (said[1], &i, sizeof i) != sizeof i)
          break;
      }
      pause ();
      _exit (1);
    }
    close (said[1]);
    for (uint64_t n = rnd_below (&rnd, 2000) + 1; n > 0; --n)
      CHECK_EQ (read (said[0], &last, sizeof last), (ssize_t) sizeof last);
    CHECK_EQ (kill (server, SIGKILL), 0);
    CHECK_EQ (waitpid (server, &status, 0), server);
    CHECK (WIFSIGNALED (status));
    /* The blocks that it has acknowledged meanwhile. */
    while (read (said[0], &last, sizeof last) == (ssize_t) sizeof last)
      ;
    close (said[0]);
    superblock_close (&superblock);

    CHECK_EQ (superblock_open (&next, fd), 0);
    map = blockmap_create (BLOCKS, next.bits);
    CHECK (map != NULL);
    for (uint64_t i = 0; i < BLOCKS; ++i) {
      bool is = blockmap_has_data (map, i);

      if (i % 3 == 0)
        CHECK (!is);
      else if (i <= last)
        CHECK (is);
      published += is;
    }
    CHECK_EQ (blockmap_count (map), published);
    blockmap_free (map);
    superblock_close (&next);
  }
}

/* Any wrong bit of the header is found, with the right message. */
static void
test_damage (void)
{
  const int fd = leave ();

  for (off_t at = 0; at < HEADER_END; ++at)
    for (unsigned bit = 0; bit < 8; ++bit) {
      unsigned char was, is;

      CHECK_EQ (pread (fd, &was, 1, at), 1);
      is = (unsigned char) (was ^ (1U << bit));
      CHECK_EQ (pwrite (fd, &is, 1, at), 1);
      refuses (fd, at < VERSION_AT ? "it is damaged, or not of this plugin"
                   : at < VERSION_AT + 4
                       ? "it was made by another version of this plugin"
                       : "its header is damaged: the checksum is wrong");
      CHECK_EQ (pwrite (fd, &was, 1, at), 1);
    }
  accepts (fd);

  /* The bytes behind the header are not checked: no data is lost for them. */
  for (off_t at = HEADER_END; at < BITS_AT + 100; ++at)
    CHECK_EQ (pwrite (fd, "\x5a", 1, at), 1);
  accepts (fd);
  close (fd);
}

/* The superblock of an older or newer plugin is not called damaged, wherever
 * it has its checksum.
 */
static void
test_versions (void)
{
  static const uint32_t others[] = {
    0,
    SUPERBLOCK_VERSION_ELASTIC + 1,
    SUPERBLOCK_VERSION_ELASTIC + 2,
    0x100 + SUPERBLOCK_VERSION,
    0x10000 * SUPERBLOCK_VERSION,
    UINT32_MAX,
  };
  const int fd = leave ();
  const struct superblock_header header = read_header (fd);

  for (size_t i = 0; i < COUNT (others); ++i) {
    struct superblock_header other = header;

    other.version = others[i];
    other.checksum = checksum (&other);
    write_header (fd, &other);
    refuses (fd, "the disk cannot be taken over: it was made by another "
                 "version of this plugin; start that version");
    other.checksum = 0;
    write_header (fd, &other);
    refuses (fd, "it was made by another version of this plugin");
  }
  write_header (fd, &header);
  accepts (fd);
  close (fd);
}

/* The checksum is right, but the numbers are impossible. */
static void
test_numbers (void)
{
  static const struct {
    const char *what;
    struct superblock_header header;
  } table[] = {
    { "no disk",
      { .block_size = BLOCK_SIZE,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB,
        .chunk_count = 4 } },
    { "half a block",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK + 512,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB,
        .chunk_count = 4 } },
    { "other blocks",
      { .block_size = 2 * BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB,
        .chunk_count = 4 } },
    { "beyond VRAM",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 12 * MiB,
        .chunk_size = 4 * MiB,
        .chunk_count = 3 } },
    { "no VRAM",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .chunk_size = 4 * MiB,
        .chunk_count = 4 } },
    { "no chunk",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB } },
    { "chunks of nothing",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_count = 4 } },
    { "chunks of no power of two",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_size = 6 * MiB,
        .chunk_count = 3 } },
    { "odd chunks",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB + 1,
        .chunk_count = 4 } },
    { "a chunk too few",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB,
        .chunk_count = 3 } },
    { "a chunk too many",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = 14 * MiB,
        .chunk_size = 4 * MiB,
        .chunk_count = 5 } },
    { "more chunks than any disk",
      { .block_size = BLOCK_SIZE,
        .disk_size = DISK,
        .allocated = (CHUNKS_MAX + 1) * 2 * MiB,
        .chunk_size = 2 * MiB,
        .chunk_count = CHUNKS_MAX + 1 } },
  };
  const int fd = leave ();
  const struct superblock_header header = read_header (fd);

  for (size_t i = 0; i < COUNT (table); ++i) {
    struct superblock_header other = table[i].header;

    printf ("  %s\n", table[i].what);
    memcpy (other.magic, header.magic, sizeof other.magic);
    other.version = header.version;
    memcpy (other.gpu, header.gpu, sizeof other.gpu);
    other.checksum = checksum (&other);
    write_header (fd, &other);
    refuses (fd, "its sizes contradict each other");
  }
  close (fd);
}

/* The header is right, but the memory has another size. */
static void
test_block_map_size (void)
{
  static const struct {
    off_t size;
    const char *words;
  } table[] = {
    { 0, "too short" },
    { HEADER_END, "too short" },
    { BITS_AT - 1, "too short" },
    { BITS_AT, "its block map does not fit the disk's size" },
    { BITS_AT + BLOCK_SIZE - 1, "its block map does not fit the disk's size" },
    { BITS_AT + BLOCK_SIZE + 1, "its block map does not fit the disk's size" },
    { BITS_AT + 2 * BLOCK_SIZE, "its block map does not fit the disk's size" },
    { BITS_AT + BLOCK_SIZE, NULL },
  };
  const int good = leave ();
  const struct superblock_header header = read_header (good);

  for (size_t i = 0; i < COUNT (table); ++i) {
    int fd = memfd_create ("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CHECK (fd != -1);
    write_header (fd, &header);
    CHECK_EQ (ftruncate (fd, table[i].size), 0);
    CHECK_EQ (fcntl (fd, F_ADD_SEALS, SEALS), 0);
    if (table[i].words)
      refuses (fd, table[i].words);
    else
      accepts (fd);
    close (fd);
  }

  /* The header of a disk of another size, and of the largest possible disk. */
  for (size_t i = 0; i < 2; ++i) {
    struct superblock_header other = header;

    other.disk_size = i ? UINT64_MAX - BLOCK_SIZE + 1 : GiB;
    other.allocated = other.disk_size;
    other.chunk_size = i ? UINT64_C (1) << 63 : GiB;
    other.chunk_count = i ? 2 : 1;
    other.checksum = checksum (&other);
    write_header (good, &other);
    refuses (good, "its block map does not fit the disk's size");
  }
  close (good);
}

/* A file that is no superblock, or could be truncated under a server. */
static void
test_no_state (void)
{
  static const char words[] = "it is not a memfd of this plugin";
  static const unsigned missing[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL,
                                      SEALS };
  const int good = leave ();
  const struct superblock_header header = read_header (good);
  struct superblock superblock;
  char path[64];
  int fd, ends[2];

  for (size_t i = 0; i < COUNT (missing); ++i) {
    fd = memfd_create ("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    write_header (fd, &header);
    CHECK_EQ (ftruncate (fd, BITS_AT + BLOCK_SIZE), 0);
    CHECK_EQ (fcntl (fd, F_ADD_SEALS, SEALS & ~missing[i]), 0);
    refuses (fd, words);
    close (fd);
  }

  fd = open ("/dev/zero", O_RDWR | O_CLOEXEC);
  refuses (fd, words);
  close (fd);
  CHECK_EQ (pipe2 (ends, O_CLOEXEC), 0);
  refuses (ends[0], words);
  close (ends[0]);
  close (ends[1]);

  stub_messages_clear ();
  CHECK_EQ (superblock_open (&superblock, 199), -1);
  CHECK_HOLDS (stub_errors (), "adopt: fstat: Bad file descriptor");

  /* Read-only. */
  snprintf (path, sizeof path, "/proc/self/fd/%d", good);
  fd = open (path, O_RDONLY | O_CLOEXEC);
  CHECK (fd != -1);
  refuses (fd, "adopt: mmap: ");
  close (fd);
  accepts (good);
  close (good);
}

static void
test_find_free (void)
{
  uint64_t block, *bits;
  struct superblock superblock;

  CHECK_EQ (superblock_create (&superblock, &example), 0);
  bits = superblock.bits;
  CHECK (superblock_find_free (&superblock, 5, 10, &block) && block == 5);
  CHECK (!superblock_find_free (&superblock, 5, 5, &block));
  bits[0] = UINT64_MAX;
  bits[1] = 0x7f;
  CHECK (!superblock_find_free (&superblock, 5, 64, &block));
  CHECK (!superblock_find_free (&superblock, 0, 71, &block));
  CHECK (superblock_find_free (&superblock, 0, 72, &block) && block == 71);
  CHECK (superblock_find_free (&superblock, 63, 100, &block) && block == 71);
  bits[0] &= ~UINT64_C (0x8000);
  CHECK (superblock_find_free (&superblock, 0, 72, &block) && block == 15);

  /* Bits beyond the disk's end have no meaning. */
  memset (bits, 0xff, blockmap_bytes (BLOCKS));
  CHECK (!superblock_find_free (&superblock, 0, BLOCKS, &block));
  CHECK (superblock_find_free (&superblock, 0, BLOCKS + 1, &block) &&
         block == BLOCKS);
  CHECK (superblock_find_free (&superblock, BLOCKS + 7, BLOCKS + 8, &block) &&
         block == BLOCKS + 7);
  superblock_close (&superblock);
}

/* There is no memory for it. */
static void
test_create_fails (void)
{
  const unsigned had = descriptors ();
  struct superblock_header header = example;
  struct superblock superblock;

  stub_messages_clear ();
  header.disk_size = UINT64_C (1) << 62;
  CHECK_EQ (superblock_create (&superblock, &header), -1);
  CHECK_HOLDS (stub_errors (), "cannot make the superblock: ");
  CHECK_EQ (superblock.fd, -1);
  CHECK_EQ (descriptors (), had);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_create);
  RUN (test_layout);
  RUN (test_elastic);
  RUN (test_sizes);
  RUN (test_open);
  RUN (test_bits_survive);
  RUN (test_damage);
  RUN (test_versions);
  RUN (test_numbers);
  RUN (test_block_map_size);
  RUN (test_no_state);
  RUN (test_find_free);
  RUN (test_create_fails);
  return check_end ();
}
