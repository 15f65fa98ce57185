/* nbdkit-vram: tests of adopt=: which descriptors a disk needs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "disk/blockmap.h"
#include "handover/adopt.h"
#include "nbdkit-stubs.h"

#define SLOTS 4
#define SLOT  (4 * BLOCK_SIZE)

static struct superblock made = SUPERBLOCK_NONE;
static struct superblock opened = SUPERBLOCK_NONE;
static struct adopt adopt;
static char value[256];

static void
make_disk (uint32_t version)
{
  const struct superblock_header header = {
    .version = version,
    .disk_size = SLOTS * SLOT,
    .allocated = SLOTS * SLOT,
    .chunk_size = SLOT,
    .chunk_count = SLOTS,
  };

  CHECK_EQ (superblock_create (&made, &header), 0);
}

static bool
is_open (int fd)
{
  return fcntl (fd, F_GETFD) != -1;
}

/* Opens a descriptor called NAME and adds it to adopt=.  Returns it. */
static int
give (const char *name)
{
  const size_t n = strlen (value);
  int fd = fcntl (made.fd, F_DUPFD, 3);

  CHECK (fd != -1);
  snprintf (value + n, sizeof value - n, "%s%d:%s", n > 0 ? "," : "", fd,
            name);
  return fd;
}

static int
open_disk (void)
{
  stub_messages_clear ();
  memset (&adopt, 0, sizeof adopt);
  CHECK_EQ (adopt_parse (value, &adopt), 0);
  value[0] = '\0';
  return adopt_open (&adopt, &opened);
}

/* The disk is refused, for a reason that contains WHY. */
static void
check_refused (const char *why)
{
  CHECK_EQ (open_disk (), -1);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "adopt: the disk cannot be taken over: ");
  CHECK_HOLDS (stub_errors (), why);
  CHECK_EQ (opened.fd, -1);
  adopt_close (&adopt);
}

static void
close_disk (void)
{
  superblock_close (&opened);
  superblock_close (&made);
}

/* A disk with elastic=no needs all of its chunks, and no others. */
static void
test_plain (void)
{
  static const char *const chunks[] = { "vram-chunk-0", "vram-chunk-1",
                                        "vram-chunk-3", "vram-chunk-2",
                                        "vram-chunk-4" };

  make_disk (SUPERBLOCK_VERSION);
  give ("vram-chunk-0");
  check_refused ("its superblock, vram-state, is missing");
  for (unsigned given = 2; given <= 5; ++given) {
    give ("vram-state");
    for (unsigned i = 0; i < given; ++i)
      give (chunks[i]);
    if (given < 4)
      check_refused ("chunk 2 of 4 is missing");
    else if (given > 4)
      check_refused ("it has 4 chunks, not 5");
    else
      CHECK_EQ (open_disk (), 0);
    superblock_close (&opened);
    adopt_close (&adopt);
  }
  close_disk ();
}

/* An elastic disk needs what its slots are in, and nothing else is kept. */
static void
test_elastic (void)
{
  int chunk, reserve, spill, gpu;

  make_disk (SUPERBLOCK_VERSION_ELASTIC);
  give ("vram-state");
  reserve = give ("vram-chunk-1");
  CHECK_EQ (open_disk (), 0);
  CHECK (!is_open (reserve));
  superblock_close (&opened);

  atomic_store (&made.slots[1], SLOT_IN_VRAM (3));
  atomic_store (&made.slots[2], (uint64_t) SLOT_SPILL);
  give ("vram-state");
  give ("vram-chunk-1");
  spill = give ("vram-spill");
  check_refused ("chunk 3, which slot 1 of 4 is in, is missing");
  CHECK (!is_open (spill));
  give ("vram-state");
  chunk = give ("vram-chunk-3");
  check_refused ("the spill file, which slot 2 of 4 is in, is missing");
  CHECK (!is_open (chunk));

  give ("vram-state");
  reserve = give ("vram-chunk-2");
  chunk = give ("vram-chunk-3");
  spill = give ("vram-spill");
  gpu = give ("vram-gpu");
  CHECK_EQ (open_disk (), 0);
  CHECK_EQ (adopt.chunk[2], -1);
  CHECK (!is_open (reserve));
  CHECK_EQ (adopt.chunk[3], chunk);
  CHECK_EQ (adopt.spill, spill);
  CHECK (fcntl (spill, F_GETFD) & FD_CLOEXEC);
  CHECK (fcntl (chunk, F_GETFD) & FD_CLOEXEC);
  adopt_close (&adopt);
  CHECK (!is_open (chunk) && !is_open (spill) && !is_open (gpu));
  close_disk ();
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_plain);
  RUN (test_elastic);
  return check_end ();
}
