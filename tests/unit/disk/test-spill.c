/* nbdkit-vram: tests of the spill file and its transfers
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "common/units.h"
#include "disk/blockmap.h"
#include "disk/spill.h"
#include "nbdkit-stubs.h"
#include "spill-disk.h"
#include "virtual-time.h"

#define BYTES     (9 * 1024 * 1024)
#define HALF      (5 * 1024 * 1024)
#define LONG_MS   (3600 * 1000)
#define SHORT_MS  50
#define TRANSFERS 8 /* of spill.c */
#define PART      (256 * 1024)

static struct spill *spill;
static unsigned char model[BYTES], seen[BYTES];

/* What the spill file's thread writes. */
static atomic_bool writes_nothing; /* and says that it does */
static atomic_uint writes, interrupts;

ssize_t
pwrite (int fd, const void *buf, size_t count, off_t offset)
{
  atomic_fetch_add (&writes, 1);
  /* Bytes that it is about to overwrite must not be used. */
  CHECK_EQ (spill_ready (spill), offset);
  if (atomic_load (&interrupts) > 0) {
    atomic_fetch_sub (&interrupts, 1);
    errno = EINTR;
    return -1;
  }
  if (atomic_load (&writes_nothing))
    return (ssize_t) count;
  return syscall (SYS_pwrite64, fd, buf, count, offset);
}

/* A file in memory of which READY bytes were overwritten, full of BYTE. */
static void
begin (unsigned char byte, uint64_t ready, unsigned timeout_ms)
{
  char reason[SPILL_REASON];
  int fd = memfd_create ("spill", MFD_CLOEXEC | MFD_ALLOW_SEALING);

  stub_messages_clear ();
  memset (model, byte, BYTES);
  CHECK (fd != -1);
  CHECK_EQ (write (fd, model, BYTES), BYTES);
  spill = spill_open (NULL, fd, BYTES, ready, timeout_ms, reason);
  CHECK (spill != NULL);
}

static void
end (void)
{
  spill_close (spill);
  spill = NULL;
}

static void
check_content (void)
{
  memset (seen, 0x5a, BYTES);
  CHECK_EQ (spill_read (spill, seen + 1, BYTES - 1, 1), 0);
  CHECK (memcmp (seen + 1, model + 1, BYTES - 1) == 0);
}

static void
write_at_random (unsigned times)
{
  struct rnd rnd;

  rnd_begin (&rnd, 3);
  for (unsigned n = 0; n < check_effort (times); ++n) {
    uint64_t offset = rnd_below (&rnd, BYTES);
    size_t count = 1 + rnd_below (&rnd, BYTES - offset);

    if (count > 600 * KiB)
      count = 1 + count % (600 * KiB);
    for (size_t i = 0; i < count; ++i)
      model[offset + i] = (unsigned char) (n + i / 512);
    CHECK_EQ (spill_write (spill, model + offset, count, offset), 0);
  }
  check_content ();
}

/* A real file, if this folder is on a suitable disk. */
static void
test_file (void)
{
  char reason[SPILL_REASON];
  struct statvfs fs;
  struct stat st;

  CHECK (spill_open ("/nowhere", -1, BYTES, 0, 1, reason) == NULL);
  CHECK_STR (reason, "/nowhere: No such file or directory");
  CHECK (spill_open ("/dev/shm", -1, BYTES, 0, 1, reason) == NULL);
  CHECK_HOLDS (reason, "/dev/shm");
  spill = spill_open (".", -1, BYTES, 0, LONG_MS, reason);
  if (spill == NULL) {
    printf ("  no file here: %s\n", reason);
    return;
  }
  /* Later the file system must not need memory.  No program finds the file. */
  CHECK_EQ (fstat (spill_fd (spill), &st), 0);
  CHECK_EQ (st.st_size, BYTES);
  CHECK (st.st_blocks * 512 >= BYTES);
  CHECK_EQ (st.st_nlink, 0);
  CHECK_EQ (st.st_mode & 0777, 0600);
  CHECK (fcntl (spill_fd (spill), F_GETFL) & O_DIRECT);
  CHECK (fcntl (spill_fd (spill), F_GETFD) & FD_CLOEXEC);
  CHECK_EQ (spill_start (spill), 0);
  while (spill_ready (spill) < BYTES)
    sched_yield ();
  memset (model, 0, BYTES);
  check_content ();
  write_at_random (100);
  end ();
  /* A part of the disk is left to other programs. */
  CHECK_EQ (statvfs (".", &fs), 0);
  CHECK_EQ (spill_check (".", fs.f_bavail * fs.f_frsize, reason), -1);
  CHECK_HOLDS (reason, ".: no room for ");
  CHECK_HOLDS (reason, "can be used");
  CHECK (spill_open (".", -1, UINT64_C (1) << 60, 0, 1, reason) == NULL);
  CHECK_HOLDS (reason, "no room for 1048576 TiB");
}

/* The thread overwrites what no server has overwritten yet, and no more. */
static void
test_overwriting (void)
{
  begin (7, HALF, LONG_MS);
  CHECK_EQ (spill_ready (spill), HALF);
  CHECK (spill_grows (spill));
  /* Also if signals come. */
  atomic_store (&interrupts, 3);
  CHECK_EQ (spill_start (spill), 0);
  while (spill_grows (spill))
    sched_yield ();
  CHECK_EQ (spill_ready (spill), BYTES);
  memset (model + HALF, 0, BYTES - HALF);
  check_content ();
  end ();

  begin (7, BYTES, LONG_MS);
  atomic_store (&writes, 0);
  CHECK_EQ (spill_start (spill), 0);
  end ();
  CHECK_EQ (atomic_load (&writes), 0);

  /* If it fails, the file is not used. */
  begin (7, HALF, LONG_MS);
  CHECK_EQ (fcntl (spill_fd (spill), F_ADD_SEALS, F_SEAL_WRITE), 0);
  CHECK (spill_works (spill));
  CHECK_EQ (spill_start (spill), 0);
  while (spill_works (spill))
    sched_yield ();
  CHECK (!spill_grows (spill));
  CHECK_EQ (spill_ready (spill), HALF);
  end ();
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "cannot write the spill file: Operation not");
}

/* The end of the server does not wait until all is overwritten. */
static void
test_close_while_overwriting (void)
{
  char reason[SPILL_REASON];
  int fd = memfd_create ("spill", MFD_CLOEXEC);

  atomic_store (&writes_nothing, true);
  spill = spill_open (NULL, fd, UINT64_C (1) << 62, 0, LONG_MS, reason);
  CHECK (spill != NULL);
  CHECK_EQ (spill_start (spill), 0);
  while (spill_ready (spill) == 0)
    sched_yield ();
  end ();
  atomic_store (&writes_nothing, false);
}

/* A disk may copy less than it was asked for, and signals may come. */
static void
test_short_copies (void)
{
  enum { MOVED = 3 * BLOCK_SIZE };
  unsigned char *buffer;

  begin (0, BYTES, LONG_MS);
  atomic_store (&spill_disk.most, 3 * BLOCK_SIZE);
  atomic_store (&spill_disk.interrupts, 20);
  write_at_random (20);
  CHECK_EQ (atomic_load (&spill_disk.interrupts), 0);
  atomic_store (&spill_disk.most, BLOCK_SIZE);
  buffer = spill_move_buffer (spill, MOVED);
  CHECK (buffer != NULL);
  for (unsigned i = 0; i < MOVED; ++i)
    buffer[i] = model[HALF + i] = (unsigned char) (i / 100);
  CHECK_EQ (spill_write_moved (spill, MOVED, HALF, spill_until (spill)), 0);
  check_content ();
  memset (buffer, 0, MOVED);
  CHECK_EQ (spill_read_moved (spill, MOVED, HALF, spill_until (spill)), 0);
  CHECK (memcmp (buffer, model + HALF, MOVED) == 0);
  atomic_store (&spill_disk.most, 0);
  CHECK_EQ (stub_errors_count (), 0);
  end ();
}

/* After a failed read the file is used as before, but not after a failed
 * write.
 */
static void
test_errors (void)
{
  begin (7, BYTES, LONG_MS);
  atomic_store (&spill_disk.refuse, EAGAIN);
  CHECK_EQ (spill_read (spill, seen, 10, 5), -1);
  CHECK_EQ (errno, EIO);
  CHECK_STR (stub_errors (),
             "cannot read the spill file: Resource temporarily unavailable "
             "(logged once; further requests that need it fail too)\n");
  CHECK (spill_works (spill));
  check_content ();
  /* The rest of a request does not hide that its first part has failed. */
  atomic_store (&spill_disk.submitted, 0);
  atomic_store (&spill_disk.refuse, EAGAIN);
  memset (seen, 0x5a, 2 * PART);
  CHECK_EQ (spill_read (spill, seen, 2 * PART, 0), -1);
  CHECK_EQ (atomic_load (&spill_disk.submitted), 1);
  for (unsigned i = 0; i < 2 * PART; ++i)
    CHECK_EQ (seen[i], 0x5a);
  CHECK_EQ (ftruncate (spill_fd (spill), BYTES - BLOCK_SIZE), 0);
  CHECK_EQ (spill_read (spill, seen, BYTES, 0), -1);
  CHECK_EQ (errno, EIO);
  /* The old bytes around a part cannot be read. */
  CHECK_EQ (spill_write (spill, "x", 1, BYTES - 1), -1);
  CHECK (spill_works (spill));
  end ();

  begin (7, BYTES, LONG_MS);
  CHECK_EQ (fcntl (spill_fd (spill), F_ADD_SEALS, F_SEAL_WRITE), 0);
  CHECK_EQ (spill_write (spill, model, BLOCK_SIZE, 0), -1);
  CHECK_EQ (errno, EIO);
  CHECK_HOLDS (stub_errors (), "cannot write the spill file: Operation not");
  CHECK (!spill_works (spill));
  CHECK_EQ (stub_errors_count (), 1);
  end ();

  for (unsigned nothing = 0; nothing < 2; ++nothing) {
    begin (7, BYTES, LONG_MS);
    atomic_store (&spill_disk.submitted, 0);
    atomic_store (&spill_disk.refuse, nothing ? 0 : EAGAIN);
    atomic_store (&spill_disk.copies_nothing, nothing);
    CHECK_EQ (spill_write (spill, seen, 2 * PART, 0), -1);
    CHECK_EQ (errno, EIO);
    CHECK_EQ (atomic_load (&spill_disk.submitted), 1);
    CHECK (!spill_works (spill));
    CHECK_HOLDS (stub_errors (), nothing ? ": Input/output" : ": Resource");
    check_content ();
    end ();
  }
  begin (7, BYTES, LONG_MS);
  atomic_store (&spill_disk.copies_nothing, true);
  CHECK_EQ (spill_read (spill, seen, 10, 5), -1);
  CHECK_HOLDS (stub_errors (), "cannot read the spill file: Input/output");
  end ();
}

/* Old bytes are read once, and only around a part of a block. */
static void
test_reads_of_writes (void)
{
  static const struct {
    unsigned offset, count, reads;
  } table[] = {
    { 0, BLOCK_SIZE, 0 },         { 0, BLOCK_SIZE - 1, 1 },
    { 1, BLOCK_SIZE - 1, 1 },     { 1, BLOCK_SIZE - 2, 1 },
    { 1, 2 * BLOCK_SIZE - 1, 1 }, { 0, 2 * BLOCK_SIZE - 1, 1 },
    { 1, 2 * BLOCK_SIZE - 2, 2 },
  };

  begin (7, BYTES, LONG_MS);
  for (unsigned i = 0; i < sizeof table / sizeof table[0]; ++i) {
    const unsigned at = i * 2 * BLOCK_SIZE + table[i].offset;

    memset (model + at, (int) i, table[i].count);
    atomic_store (&spill_disk.submitted, 0);
    CHECK_EQ (spill_write (spill, model + at, table[i].count, at), 0);
    CHECK_EQ (atomic_load (&spill_disk.submitted), table[i].reads + 1);
  }
  check_content ();
  end ();
}

static void
answer_slowly (void)
{
  virtual_time_pass (400);
}

/* The time limit is one for all parts of a request. */
static void
test_slow (void)
{
  begin (7, BYTES, 1000);
  spill_disk.asked = answer_slowly;
  virtual_time_begin ();
  CHECK_EQ (spill_read (spill, seen, 2 * PART, 0), 0);
  CHECK_EQ (atomic_load (&spill_disk.limit_ms), 200);
  CHECK_EQ (spill_write (spill, model, 2 * PART, 0), 0);
  CHECK_EQ (atomic_load (&spill_disk.limit_ms), 200);
  virtual_time_end ();
  spill_disk.asked = NULL;
  end ();
}

/* Nothing is asked of the disk until it answers. */
static void
check_late (void)
{
  const unsigned before = atomic_load (&spill_disk.submitted);

  CHECK (!spill_works (spill));
  CHECK_EQ (spill_read (spill, seen, BLOCK_SIZE, 0), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (spill_write (spill, seen, BLOCK_SIZE, 0), -1);
  CHECK_EQ (spill_read_moved (spill, BLOCK_SIZE, 0, spill_until (spill)), -1);
  CHECK_EQ (atomic_load (&spill_disk.submitted), before);
}

static void
test_late (void)
{
  begin (7, BYTES, SHORT_MS);
  CHECK (spill_move_buffer (spill, BLOCK_SIZE) != NULL);
  /* More often than there are transfers. */
  for (unsigned times = 1; times <= TRANSFERS + 2; ++times) {
    atomic_store (&spill_disk.hangs, true);
    /* A request, or a move. */
    CHECK_EQ (times == 2 ? spill_read_moved (spill, BLOCK_SIZE, 0,
                                             spill_until (spill))
                         : spill_read (spill, seen, BLOCK_SIZE, 0),
              -1);
    check_late ();
    /* Each time is logged: its begin, and its end before. */
    CHECK_EQ (stub_errors_count (), 2 * times - 1);
    spill_disk_goes_on ();
    while (!spill_works (spill))
      sched_yield ();
    /* Each buffer is of use again, with its own size. */
    check_content ();
    CHECK_EQ (spill_read_moved (spill, BLOCK_SIZE, 0, spill_until (spill)), 0);
  }
  CHECK_HOLDS (stub_errors (), "its disk has not answered for 50 ms");
  CHECK_HOLDS (stub_errors (), "info: the disk of the spill file answers");

  /* The end of the server does not wait for the disk. */
  atomic_store (&spill_disk.hangs, true);
  CHECK_EQ (spill_read (spill, seen, BLOCK_SIZE, 0), -1);
  end ();
  spill_disk_goes_on ();
}

/* Starts TRANSFERS reads of different blocks, and waits until each waits for
 * the disk.
 */
static void *
read_block (void *arg)
{
  const uint64_t block = *(const unsigned *) arg;
  unsigned char buf[BLOCK_SIZE];

  memset (buf, 0x5a, sizeof buf);
  if (spill_read (spill, buf, sizeof buf, block * BLOCK_SIZE) == 0)
    CHECK (memcmp (buf, model + block * BLOCK_SIZE, BLOCK_SIZE) == 0);
  else
    CHECK (buf[0] == 0x5a && atomic_load (&spill_disk.late_if) > 0);
  return NULL;
}

static void
start_reads (pthread_t thread[TRANSFERS])
{
  static unsigned block[TRANSFERS];

  atomic_store (&spill_disk.hangs, true);
  for (unsigned i = 0; i < TRANSFERS; ++i) {
    block[i] = i;
    CHECK_EQ (pthread_create (&thread[i], NULL, read_block, &block[i]), 0);
  }
  while (atomic_load (&spill_disk.waiting) < TRANSFERS)
    sched_yield ();
}

static void
end_reads (pthread_t thread[TRANSFERS])
{
  for (unsigned i = 0; i < TRANSFERS; ++i)
    CHECK_EQ (pthread_join (thread[i], NULL), 0);
}

/* When all transfers were late, each of them is used for one request again. */
static void
test_all_late (void)
{
  pthread_t thread[TRANSFERS];

  begin (7, BYTES, LONG_MS);
  for (unsigned i = 0; i < TRANSFERS; ++i)
    memset (model + i * BLOCK_SIZE, (int) i, BLOCK_SIZE);
  CHECK_EQ (spill_write (spill, model, TRANSFERS * BLOCK_SIZE, 0), 0);
  atomic_store (&spill_disk.late_if, TRANSFERS);
  start_reads (thread);
  end_reads (thread);
  atomic_store (&spill_disk.late_if, 0);
  CHECK (!spill_works (spill));
  spill_disk_goes_on ();
  CHECK (spill_works (spill));
  /* One message, and one that the disk answers. */
  CHECK_EQ (stub_errors_count (), 2);
  start_reads (thread);
  spill_disk_goes_on ();
  end_reads (thread);
  check_content ();
  end ();
}

/* A request that gets no transfer fails in time. */
static void
test_all_busy_for_long (void)
{
  pthread_t thread[TRANSFERS];
  uint64_t start;

  begin (7, BYTES, LONG_MS);
  virtual_time_begin ();
  start_reads (thread);
  start = clock_ms ();
  CHECK_EQ (spill_read (spill, seen, 10, 5), -1);
  CHECK_EQ (errno, EIO);
  CHECK_EQ (clock_ms () - start, LONG_MS);
  CHECK_EQ (spill_write (spill, seen, 10, 5), -1);
  CHECK_EQ (clock_ms () - start, 2 * LONG_MS);
  CHECK_EQ (stub_errors_count (), 1);
  virtual_time_end ();
  spill_disk_goes_on ();
  end_reads (thread);
  check_content ();
  end ();
}

static atomic_uint failed;

static void *
read_one (void *arg)
{
  unsigned char buf[BLOCK_SIZE];

  if (spill_read (spill, buf, sizeof buf, 0) == -1)
    atomic_fetch_add (&failed, 1);
  return arg;
}

/* One request more than there are transfers waits for one of them, or until
 * another one is late.
 */
static void
test_all_busy (void)
{
  pthread_t thread[TRANSFERS + 1];

  for (unsigned late = 0; late < 2; ++late) {
    begin (7, BYTES, LONG_MS);
    CHECK (spill_move_buffer (spill, BLOCK_SIZE) != NULL);
    atomic_store (&spill_disk.hangs, true);
    for (unsigned i = 0; i <= TRANSFERS; ++i)
      CHECK_EQ (pthread_create (&thread[i], NULL, read_one, NULL), 0);
    while (atomic_load (&spill_disk.waiting) < TRANSFERS)
      sched_yield ();
    /* The last one has the time to begin to wait, but need not have. */
    clock_sleep_us (20000);
    if (late)
      CHECK_EQ (spill_read_moved (spill, BLOCK_SIZE, 0, clock_ms () + 1), -1);
    while (atomic_load (&failed) < late)
      sched_yield ();
    spill_disk_goes_on ();
    for (unsigned i = 0; i <= TRANSFERS; ++i)
      CHECK_EQ (pthread_join (thread[i], NULL), 0);
    CHECK_EQ (atomic_load (&failed), late);
    check_content ();
    end ();
  }
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_file);
  RUN (test_overwriting);
  RUN (test_close_while_overwriting);
  RUN (test_short_copies);
  RUN (test_errors);
  RUN (test_reads_of_writes);
  RUN (test_slow);
  RUN (test_late);
  RUN (test_all_late);
  RUN (test_all_busy);
  RUN (test_all_busy_for_long);
  return check_end ();
}
