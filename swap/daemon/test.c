/* nbdkit-vram: writes to the device and reads back, before swap does
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

#include "capacity.h"
#include "jobs.h"
#include "msg.h"
#include "nbd-device.h"
#include "run.h"

#define MIB   (INT64_C (1) << 20)
#define PIECE MIB

#define SHOW_MS 200

/* O_DIRECT needs them aligned to the device's blocks.  They are not static:
 * the daemon would have them locked in RAM.
 */
static unsigned char *data, *before;

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
      log_error ("%s at %" PRId64 ": %s", out ? "writing" : "reading", offset,
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
  const char *what = out ? "writing" : "verifying";
  long long started = now_ms (), shown = 0, ms;

  for (int64_t at = 0; at < length; at += PIECE) {
    size_t n = length - at < PIECE ? length - at : PIECE;

    if (interrupted ())
      return -1;
    if (out) {
      fill (seed, at, n);
      if (transfer (fd, data, n, at, true) == -1)
        return -1;
    }
    else {
      if (transfer (fd, data, n, at, false) == -1)
        return -1;
      for (size_t i = 0; i < n; i += 8) {
        uint64_t w = word_at (seed, at + i);

        if (memcmp (data + i, &w, 8) != 0) {
          log_error ("wrong data at %" PRId64, at + (int64_t) i);
          return -1;
        }
      }
    }
    if (now_ms () - shown >= SHOW_MS || at + (int64_t) n == length) {
      shown = now_ms ();
      job_tell_progress (what, length, length - at - n);
    }
  }
  ms = now_ms () - started;
  log_info ("%s: %s in %lld ms%s%s%s", out ? "written" : "verified",
            human (length), ms, ms > 0 ? ", " : "",
            ms > 0 ? human (length * 1000 / ms) : "", ms > 0 ? "/s" : "");
  return 0;
}

static void
discard (int fd, uint64_t length)
{
  uint64_t range[2] = { 0, length };

  if (ioctl (fd, BLKDISCARD, range) == -1)
    log_warning ("cannot discard the test pattern: %m");
}

static int
test_device (const char *path, bool whole)
{
  uint64_t seed = now_ms () * UINT64_C (0x2545f4914f6cdd1d) + getpid ();
  int64_t length = MIB;
  int ret = -1, fd = open (path, O_RDWR | O_DIRECT | O_EXCL | O_CLOEXEC);

  data = aligned_alloc (4096, PIECE);
  before = aligned_alloc (4096, PIECE);
  if (fd == -1 || !data || !before) {
    log_error ("%s: %m", path);
    goto out;
  }
  if (whole && (length = lseek (fd, 0, SEEK_END)) == -1) {
    log_error ("%s: %m", path);
    goto out;
  }
  /* The first MiB is restored below.  The rest of the device is unused. */
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
  free (data);
  free (before);
  if (fd != -1 && close (fd) == -1) {
    log_error ("%s: %m", path);
    ret = -1;
  }
  return ret;
}

int
job_test (const void *arg)
{
  const struct job_order *o = arg;
  struct attachment a;
  char path[32];
  int status = EXIT_OK;

  if (attach_device (o, &a) == -1)
    return was_interrupted () ? EXIT_INTERRUPTED : EXIT_FAILED;
  snprintf (path, sizeof path, "/dev/nbd%d", a.device);
  if (test_device (path, o->fill) == -1)
    status = EXIT_FAILED;
  finish_undisturbed ();
  if (nbd_detach (a.device) == -1)
    return EXIT_FAILED;
  a = (struct attachment){ .device = -1 };
  job_tell_attachment (&a);
  return status != EXIT_OK && was_interrupted () ? EXIT_INTERRUPTED : status;
}
