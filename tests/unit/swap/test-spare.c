/* nbdkit-vram: tests the memory that is held for the next server
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "meminfo.h"
#include "root.h"
#include "spare.h"
#include "test.h"

#define MIB (INT64_C (1) << 20)

/* Of a machine with 16 GiB, without the lines that do not matter. */
static const char zones[] = "Node 0, zone      DMA\n"
                            "  per-node stats\n"
                            "      nr_inactive_anon 3215\n"
                            "  pages free     3840\n"
                            "        boost    5\n"
                            "        min      18\n"
                            "        low      16\n"
                            "        managed  3840\n"
                            "        protection: (0, 3019, 18635, 18635)\n"
                            "Node 0, zone    DMA32\n"
                            "  pages free     772918\n"
                            "        min      2735\n"
                            "        managed  772918\n"
                            "        protection: (0, 0, 15616, 15616)\n"
                            "  pagesets\n"
                            "    cpu: 0\n"
                            "              count: 13\n"
                            "Node 0, zone   Normal\n"
                            "  pages free     3731765\n"
                            "        min      14147\n"
                            "        managed  3997696\n"
                            "        protection: (0, 0, 0, 0)\n"
                            "Node 0, zone  Movable\n"
                            "  pages free     0\n"
                            "        min      32\n"
                            "        managed  0\n"
                            "        protection: (0, 0, 0, 0)\n";

/* Makes the floor PAGES. */
static void
set_floor (uint64_t pages)
{
  char text[120];

  snprintf (text, sizeof text,
            "  min %llu\n  managed %llu\n  protection: (0)\n",
            (unsigned long long) pages, (unsigned long long) pages);
  test_write (root_path ("/proc/zoneinfo"), text);
}

/* Puts the floor above all that can be free. */
static void
let_memory_be_short (void)
{
  struct sysinfo s;

  sysinfo (&s);
  set_floor (2 * (uint64_t) s.totalram * s.mem_unit / 4096);
}

/* Waits until WANTED bytes are held, for a minute at most. */
static void
becomes (int64_t wanted)
{
  for (unsigned i = 0; i < 6000 && spare_held () != wanted; i++)
    nanosleep (&(struct timespec){ .tv_nsec = 10000000 }, NULL);
  CHECK (spare_held () == wanted);
}

static void
test_floor (void)
{
  int64_t bytes;

  test_write (root_path ("/proc/zoneinfo"), zones);
  CHECK (meminfo_floor (&bytes));
  /* All of the first zone is kept, and nothing of the last, which is empty. */
  CHECK (bytes == (3840 + 2735 + 15616 + 14147) * sysconf (_SC_PAGESIZE));
  test_write (root_path ("/proc/zoneinfo"), "");
  CHECK (!meminfo_floor (&bytes));
  unlink (root_path ("/proc/zoneinfo"));
  CHECK (!meminfo_floor (&bytes));
}

static void
test_hold (void)
{
  spare_hold (0);
  CHECK (spare_held () == 0);
  set_floor (0);
  spare_hold (8 * MIB + 1);
  CHECK (spare_wanted () == 8 * MIB);
  becomes (8 * MIB);
  spare_hold (3 * MIB);
  becomes (3 * MIB);
  spare_hold (6 * MIB);
  becomes (6 * MIB);
  CHECK (spare_wanted () == 6 * MIB);
}

static void
test_give (void)
{
  let_memory_be_short ();
  spare_hold (6 * MIB);
  spare_give ();
  becomes (0);
  CHECK (spare_wanted () == 6 * MIB);
  /* It takes nothing while memory is short... */
  spare_hold (4 * MIB);
  nanosleep (&(struct timespec){ .tv_nsec = 300000000 }, NULL);
  CHECK (spare_held () == 0);
  /* ... and then takes it again. */
  set_floor (0);
  spare_hold (4 * MIB);
  becomes (4 * MIB);
  /* It gives nothing while programs get memory. */
  spare_give ();
  nanosleep (&(struct timespec){ .tv_nsec = 300000000 }, NULL);
  CHECK (spare_held () == 4 * MIB);
  spare_hold (0);
  becomes (0);
  CHECK (spare_wanted () == 0);
}

int
main (void)
{
  const char *folder = test_folder ();

  root_prefix = folder;
  mkdir (root_path ("/proc"), 0755);
  test_floor ();
  test_hold ();
  test_give ();
  unlink (root_path ("/proc/zoneinfo"));
  rmdir (root_path ("/proc"));
  rmdir (folder);
  FINISH;
}
