/* nbdkit-vram: tests the arithmetic of 'vram-swap down' and what it reads
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "capacity.h"
#include "progress.h"
#include "root.h"
#include "test.h"

#define GIB (INT64_C (1) << 30)
#define MIB (INT64_C (1) << 20)

static void
test_ram_alone (void)
{
  struct meminfo m = { .total = 16 * GIB, .available = 5 * GIB };
  struct swaps s = { 1, { { "/dev/nbd0", false, 8 * GIB, 4 * GIB, 1500 } } };
  struct capacity r;

  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.need == 4 * GIB);
  CHECK (r.reserve == 16 * GIB / 50);
  CHECK (r.ram == 5 * GIB - r.reserve);
  CHECK (r.disk == 0 && r.zram == 0);
  CHECK (r.fits);

  m.available = 4 * GIB; /* the reserve is what is missing */
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (!r.fits);
  m.available = 4 * GIB + r.reserve;
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.fits);
}

static void
test_small_machine (void)
{
  struct meminfo m = { .total = 512 * MIB, .available = 10 * MIB };
  struct swaps s = { 1, { { "/dev/nbd0", false, GIB, 1 * MIB, 1500 } } };
  struct capacity r;

  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.reserve == 64 * MIB);
  CHECK (r.ram == 0);
  CHECK (!r.fits);
}

/* Our own free space is no room for what is in it. */
static void
test_other_swap (void)
{
  struct meminfo m = { .total = 8 * GIB, .available = 0 };
  struct swaps s = { 2,
                     { { "/dev/nbd0", false, 8 * GIB, 2 * GIB, 1500 },
                       { "/swapfile", true, 4 * GIB, 2 * GIB, -2 } } };
  struct capacity r;

  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.disk == 2 * GIB);
  CHECK (r.fits);
  s.swap[1].used += 4096;
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (!r.fits);
}

/* zram at 2:1: what moves there takes half of itself from RAM. */
static void
test_zram (void)
{
  struct meminfo m = { .total = 8 * GIB, .available = 2 * GIB };
  struct swaps s = { 2,
                     { { "/dev/nbd0", false, 8 * GIB, 4 * GIB, 1500 },
                       { "/dev/zram0", false, 4 * GIB, 0, 100 } } };
  struct capacity r;

  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  /* 4 GiB of zram gain 2 GiB, but there is RAM for less than that. */
  CHECK (r.zram <= r.ram && r.zram > r.ram - MIB);
  CHECK (!r.fits);
  m.available = 4 * GIB;
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.zram <= 2 * GIB && r.zram > 2 * GIB - MIB);
  /* It does not compress at all: no gain. */
  capacity_compute (&r, &m, &s, "/dev/nbd0", 100);
  CHECK (r.zram == 0);
}

/* The made-up process PID with TEXT in its status, behind 600 groups. */
static void
put_process (const char *pid, const char *name, const char *rest)
{
  static char text[16384];
  size_t n = snprintf (text, sizeof text, "Name:\t%s\nGroups:\t", name);

  for (unsigned i = 0; i < 600; i++)
    n += snprintf (text + n, sizeof text - n, "%u ", 1000000 + i);
  snprintf (text + n, sizeof text - n, "\n%s", rest);
  mkdir (root_path ("/proc/%s", pid), 0755);
  test_write (root_path ("/proc/%s/status", pid), text);
}

/* 1 GiB is swapped, 1 MiB of it is in RAM as well. */
static void
test_in_one_go (void)
{
  char name[32];

  put_process ("7", "small", "VmSwap:\t8 kB\n");
  put_process ("12", "large", "VmSwap:\t 786432 kB\n");
  CHECK (capacity_in_one_go (GIB, name) == 768 * MIB);
  CHECK (strcmp (name, "large (12)") == 0);
  CHECK (capacity_in_one_go (MIB, name) == MIB);

  /* The rest is no process's: the kernel brings files in memory back first,
   * and all of them.
   */
  put_process ("12", "large", "VmSwap:\t 2048 kB\n");
  CHECK (capacity_in_one_go (2 * GIB, name) == GIB - 3 * MIB - 8192);
  CHECK (strcmp (name, "files in memory (tmpfs)") == 0);

  for (size_t i = 0; i < 2; i++) {
    unlink (root_path ("/proc/%s/status", i ? "7" : "12"));
    rmdir (root_path ("/proc/%s", i ? "7" : "12"));
  }
}

/* The kernel wants the whole device from what programs may still reserve. */
static void
test_strict_overcommit (void)
{
  struct meminfo m = {
    .total = 8 * GIB,
    .available = 6 * GIB,
    .commit_limit = 8 * GIB,
    .committed = 5 * GIB,
    .strict = true,
  };
  struct swaps s = { 1, { { "/dev/nbd0", false, 4 * GIB, 1 * GIB, 1500 } } };
  struct capacity r;
  char text[512];

  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (!r.fits && r.overcommit == GIB);
  capacity_explain (&r, "/dev/nbd0", text, sizeof text);
  CHECK (strstr (text,
                 "vm.overcommit_memory is 2, and programs have reserved "
                 "1.0 GiB more than they may without /dev/nbd0") == text);
  /* RAM comes first when both are short. */
  m.available = 0;
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  capacity_explain (&r, "/dev/nbd0", text, sizeof text);
  CHECK (strstr (text, "1.0 GiB is swapped to /dev/nbd0, and only 0 B") ==
         text);
  m.available = 6 * GIB;
  m.committed = 4 * GIB;
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.fits && r.overcommit == 0);
  m.committed = 5 * GIB;
  m.strict = false;
  capacity_compute (&r, &m, &s, "/dev/nbd0", 200);
  CHECK (r.fits && r.overcommit == 0);
}

static void
test_reading (void)
{
  const char *folder = test_folder ();
  struct capacity r;
  struct swaps s;

  root_prefix = folder;
  mkdir (root_path ("/proc"), 0755);
  test_write (root_path ("/proc/meminfo"), "MemTotal:        8388608 kB\n"
                                           "MemFree:          100000 kB\n"
                                           "MemAvailable:    4194304 kB\n"
                                           "SwapCached:         1024 kB\n"
                                           "SwapTotal:       8388600 kB\n"
                                           "SwapFree:        7340024 kB\n"
                                           "CommitLimit:     9000000 kB\n"
                                           "Committed_AS:    1000000 kB\n");
  test_write (
      root_path ("/proc/swaps"),
      "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
      "/mnt/a\\040b                             file\t\t1024\t\t0\t\t-2\n"
      "/dev/nbd0                               partition\t8388604\t\t"
      "1048576\t\t1500\n");
  CHECK (swaps_read (&s) == 0);
  CHECK (s.n == 2);
  /* In the order in which the kernel fills them. */
  CHECK (strcmp (s.swap[0].path, "/dev/nbd0") == 0);
  CHECK (s.swap[0].priority == 1500 && s.swap[0].used == GIB);
  CHECK (strcmp (s.swap[1].path, "/mnt/a b") == 0 && s.swap[1].is_file);

  mkdir (root_path ("/proc/sys"), 0755);
  mkdir (root_path ("/proc/sys/vm"), 0755);
  test_write (root_path ("/proc/sys/vm/overcommit_memory"), "2\n");
  CHECK (capacity_read (&r, "/dev/nbd0", 0) == 0);
  CHECK (r.overcommit == INT64_C (388604) * 1024 && !r.fits);
  unlink (root_path ("/proc/sys/vm/overcommit_memory"));
  rmdir (root_path ("/proc/sys/vm"));
  rmdir (root_path ("/proc/sys"));

  CHECK (capacity_read (&r, "/dev/nbd0", 0) == 0);
  CHECK (r.need == GIB && r.disk == MIB);
  CHECK (r.ram == 4 * GIB - r.reserve);
  CHECK (r.fits);
  CHECK (capacity_read (&r, "/dev/nbd0", MIB) == 0);
  CHECK (r.ram == 4 * GIB + MIB - r.reserve);

  test_in_one_go ();

  unlink (root_path ("/proc/swaps"));
  CHECK (capacity_read (&r, "/dev/nbd0", 0) == -1);
  unlink (root_path ("/proc/meminfo"));
  rmdir (root_path ("/proc"));
  rmdir (folder);
}

/* A swap file whose path takes more than most do, and blanks in it. */
static void
test_long_path (void)
{
  const char *folder = test_folder ();
  static char text[2 * 4096];
  struct swaps s;
  size_t n;

  root_prefix = folder;
  mkdir (root_path ("/proc"), 0755);
  n = snprintf (text, sizeof text, "Filename Type Size Used Priority\n/");
  for (unsigned i = 0; i < 1000; i++)
    n += snprintf (text + n, sizeof text - n, "a\\040");
  snprintf (text + n, sizeof text - n,
            "\t\tfile\t\t1024\t\t512\t\t-2\n"
            "/dev/nbd0 partition 2048 4 1500\n");
  test_write (root_path ("/proc/swaps"), text);
  CHECK (swaps_read (&s) == 0 && s.n == 2);
  CHECK (s.swap[1].is_file && s.swap[1].size == MIB);
  CHECK (s.swap[1].used == MIB / 2 && s.swap[1].priority == -2);
  CHECK (strncmp (s.swap[1].path, "/a a a", 6) == 0);
  CHECK (strcmp (s.swap[0].path, "/dev/nbd0") == 0);
  test_write (root_path ("/proc/swaps"), "Heading\n/dev/nbd0 partition 1\n");
  CHECK (swaps_read (&s) == -1);
  unlink (root_path ("/proc/swaps"));
  rmdir (root_path ("/proc"));
  rmdir (folder);
}

static void
test_progress (void)
{
  struct progress p = { .what = "emptying", .total = 2 * GIB };
  char text[256];

  progress_text (&p, GIB, 10000, 8, text, sizeof text);
  CHECK (strcmp (text, "emptying: ####....   50 %, 1.0 GiB left, "
                       "102 MiB/s, about 10 s left") == 0);
  progress_text (&p, 0, 10000, 0, text, sizeof text);
  CHECK (strcmp (text, "emptying: 100 %, 0 B left, 205 MiB/s, "
                       "about 0 s left") == 0);
  /* No rate from no time; more left than there was is no progress. */
  progress_text (&p, 3 * GIB, 0, 4, text, sizeof text);
  CHECK (strcmp (text, "emptying: ....    0 %, 3.0 GiB left") == 0);
}

int
main (void)
{
  test_ram_alone ();
  test_small_machine ();
  test_other_swap ();
  test_zram ();
  test_strict_overcommit ();
  test_reading ();
  test_long_path ();
  test_progress ();
  FINISH;
}
