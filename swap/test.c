/* nbdkit-vram: vram-swap test, writes and reads back before swap does
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/fs.h>
#include <unistd.h>

#include "attach.h"
#include "capacity.h"
#include "msg.h"
#include "options.h"
#include "progress.h"
#include "run.h"
#include "service.h"

#define MIB   (INT64_C (1) << 20)
#define PIECE MIB

/* O_DIRECT wants it aligned to the device's blocks. */
static unsigned char data[PIECE] __attribute__ ((aligned (4096)));
static unsigned char before[PIECE] __attribute__ ((aligned (4096)));

/* The 64-bit word that belongs at OFFSET in the run of SEED: no two places of
 * a device look alike, so that a block in the wrong place shows.
 */
static uint64_t
word_at (uint64_t seed, uint64_t offset)
{
  uint64_t z = seed + (offset / 8 + 1) * UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static void
fill (uint64_t seed, int64_t offset, size_t n)
{
  for (size_t i = 0; i < n; i += 8) {
    uint64_t w = word_at (seed, offset + i);

    memcpy (data + i, &w, 8);
  }
}

static int
transfer (int fd, unsigned char *buf, size_t n, int64_t offset, bool out)
{
  ssize_t r;

  while (n > 0) {
    r = out ? pwrite (fd, buf, n, offset) : pread (fd, buf, n, offset);
    if (r == -1 && errno == EINTR)
      continue;
    if (r <= 0) {
      error ("%s at %" PRId64 ": %s", out ? "writing" : "reading", offset,
             r == 0 ? "end of the device" : strerror (errno));
      return -1;
    }
    buf += r;
    n -= r;
    offset += r;
  }
  return 0;
}

/* One way over the first LENGTH bytes.  Returns 0, or -1 with a message. */
static int
pass (int fd, int64_t length, uint64_t seed, bool out)
{
  struct progress p;
  long long started = now_ms (), ms;

  progress_begin (&p, out ? "writing" : "verifying", "MiB", MIB, length);
  for (int64_t at = 0; at < length; at += PIECE) {
    size_t n = length - at < PIECE ? length - at : PIECE;

    if (interrupted ())
      goto err;
    if (out) {
      fill (seed, at, n);
      if (transfer (fd, data, n, at, true) == -1)
        goto err;
    }
    else {
      if (transfer (fd, data, n, at, false) == -1)
        goto err;
      for (size_t i = 0; i < n; i += 8) {
        uint64_t w = word_at (seed, at + i);

        if (memcmp (data + i, &w, 8) != 0) {
          error ("wrong data at %" PRId64, at + (int64_t) i);
          goto err;
        }
      }
    }
    progress_show (&p, length - at - n);
  }
  progress_end (&p, 0);
  ms = now_ms () - started;
  note ("%s: %s in %lld ms%s%s%s", out ? "written" : "verified",
        human (length), ms, ms > 0 ? ", " : "",
        ms > 0 ? human (length * 1000 / ms) : "", ms > 0 ? "/s" : "");
  return 0;

err:
  progress_end (&p, 0);
  return -1;
}

static void
discard (int fd, uint64_t length)
{
  uint64_t range[2] = { 0, length };

  if (ioctl (fd, BLKDISCARD, range) == -1)
    warning ("discarding the pattern: %m");
}

static int
test_device (const char *path, bool whole)
{
  uint64_t seed = now_ms () * UINT64_C (0x2545f4914f6cdd1d) + getpid ();
  int64_t length = MIB;
  int ret = -1, fd = open (path, O_RDWR | O_DIRECT | O_EXCL | O_CLOEXEC);

  if (fd == -1) {
    error ("%s: %m", path);
    return -1;
  }
  if (whole && (length = lseek (fd, 0, SEEK_END)) == -1) {
    error ("%s: %m", path);
    goto out;
  }
  /* What was there comes back.  Nobody uses the rest of the device. */
  if (transfer (fd, before, MIB, 0, false) == -1)
    goto out;
  if (pass (fd, length, seed, true) == -1 ||
      pass (fd, length, seed, false) == -1)
    goto restore;
  ret = 0;

restore:
  /* The server need not keep our pattern. */
  if (whole)
    discard (fd, length);
  if (transfer (fd, before, MIB, 0, true) == -1)
    ret = -1;
out:
  if (close (fd) == -1) {
    error ("%s: %m", path);
    ret = -1;
  }
  return ret;
}

int
cmd_test (struct options *o)
{
  int status = EXIT_FAILED, lock = service_lock (&o->conf, 10);
  struct attachment a;
  struct state st;

  if (lock == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  state_read (&st);
  if (attach_for_test (&o->conf, &st, &a) == -1)
    goto out;
  if (test_device (a.path, o->fill) == 0)
    status = EXIT_OK;
  finish_undisturbed ();
  if (attach_down (&st, &a) == -1)
    status = EXIT_FAILED;
out:
  close (lock);
  if (status != EXIT_OK && was_interrupted ())
    status = EXIT_INTERRUPTED;
  return status;
}
