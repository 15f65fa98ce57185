/* nbdkit-vram: vram-swap check: what the server's memory, and other swaps, get
 * in the way of
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "capacity.h"
#include "findings.h"
#include "pid1.h"
#include "root.h"
#include "run.h"
#include "runstate.h"
#include "swaps.h"

/* The capabilities that a process here can have at most, even as root. */
static bool
bounding_set (const char *process, uint64_t *set)
{
  char text[32];

  return read_field (root_path ("/proc/%s/status", process), "CapBnd:", text,
                     sizeof text) &&
         sscanf (text, "%" SCNx64, set) == 1;
}

static void
check_limits (struct report *r, const struct conf *c, bool unit)
{
  const enum verdict bad =
      conf_is (c, CONF_RESIDENT, "required") ? PROBLEM : WARNING;
  const uint64_t lock = UINT64_C (1) << CAP_IPC_LOCK,
                 flusher = UINT64_C (1) << CAP_SYS_RESOURCE;
  struct rlimit limit;
  uint64_t set;

  if (geteuid () != 0 && !unit) {
    if (getrlimit (RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY)
      finding (r, bad, "locked memory", "run it as root or by its unit",
               "only %s may be locked", human (limit.rlim_cur));
    return;
  }
  /* systemd gives the unit what it has itself. */
  if (!bounding_set (unit ? "1" : "self", &set))
    finding (r, WARNING, "capabilities", "mount /proc",
             "cannot read which ones the server can have");
  else if ((set & lock) && (set & flusher))
    finding (r, FINE, "capabilities", NULL,
             "the server can lock memory and be an I/O flusher");
  else
    finding (r, bad, "capabilities",
             "let the container have them, or run it outside",
             "the server cannot have %s%s%s here, not even as root",
             set & lock ? "" : "CAP_IPC_LOCK",
             (set & lock) || (set & flusher) ? "" : " and ",
             set & flusher ? "" : "CAP_SYS_RESOURCE");
}

#define CGROUPS "/sys/fs/cgroup"

/* The control group below CGROUPS that the server is or will be in. */
static bool
server_cgroup (pid_t server, bool unit, char *buf, size_t size)
{
  char text[4096], *at, process[24] = "self";

  if (server == 0 && unit) {
    snprintf (buf, size, CGROUPS "/system.slice/" SWAP_UNIT);
    return true;
  }
  if (server != 0)
    snprintf (process, sizeof process, "%ld", (long) server);
  if (read_text (root_path ("/proc/%s/cgroup", process), text, sizeof text) <=
      0)
    return false;
  at = strstr (text, "0::/");
  if (!at)
    return false;
  at += strlen ("0::");
  if (at[1] == '\n' || at[1] == '\0')
    at++; /* the root has no name */
  snprintf (buf, size, CGROUPS "%.*s", (int) strcspn (at, "\n"), at);
  return true;
}

/* Whether a limit on the memory of the server, or of what it is part of, could
 * keep it from answering the kernel that wants to free memory.
 */
static void
check_memory_limits (struct report *r, pid_t server, bool unit)
{
  static const char *const files[] = { "memory.max", "memory.high" };
  char path[512], text[32];
  bool found = false;

  if (!server_cgroup (server, unit, path, sizeof path))
    return; /* no control groups of version 2 */
  for (; strlen (path) >= strlen (CGROUPS); *strrchr (path, '/') = '\0')
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
      if (read_text (root_path ("%s/%s", path, files[i]), text, sizeof text) >
              0 &&
          strcmp (text, "max") != 0) {
        found = true;
        finding (r, PROBLEM, "memory limit",
                 "set MemoryMax= and MemoryHigh= of that unit or slice to "
                 "infinity",
                 "%s/%s is %s: a server that gets no memory stops the machine",
                 path, files[i], human (strtoll (text, NULL, 10)));
      }
  if (!found)
    finding (r, FINE, "memory limit", NULL, "none for the server");
}

/* Returns whether there is a swap in zram. */
static bool
check_swaps (struct report *r, const struct conf *c)
{
  int priority = conf_number (c, CONF_PRIORITY);
  struct swaps s;
  struct runstate st;
  char own[32];
  size_t others = 0;
  bool above = false, zram = false;

  if (swaps_read (&s) == -1)
    return false;
  runstate_read (&st);
  snprintf (own, sizeof own, "/dev/nbd%d", runstate_device (&st));
  for (size_t i = 0; i < s.n; i++) {
    const struct swap *swap = &s.swap[i];

    if (strcmp (swap->path, own) == 0)
      continue;
    others++;
    zram |= swap_is_zram (swap);
    if (swap->priority < priority)
      continue;
    above = true;
    if (swap_is_zram (swap) && swap->priority > priority)
      finding (
          r, WARNING, "priorities",
          "raise priority= above it, unless that is intended",
          "%s has priority %d: VRAM (%d) gets only what does not fit into "
          "RAM compressed",
          swap->path, swap->priority, priority);
    else
      finding (r, WARNING, "priorities",
               "raise priority= above it, or lower its "
               "own",
               "%s has priority %d and fills before VRAM (%d)", swap->path,
               swap->priority, priority);
  }
  if (!above)
    finding (r, FINE, "priorities", NULL,
             "VRAM (%d) fills before %zu other swap%s", priority, others,
             others == 1 ? "" : "s");
  return zram;
}

static void
check_zswap (struct report *r, bool zram)
{
  char enabled[8];

  if (read_text (root_path ("/sys/module/zswap/parameters/enabled"), enabled,
                 sizeof enabled) > 0 &&
      enabled[0] == 'Y')
    finding (r, WARNING, "zswap",
             "echo N >/sys/module/zswap/parameters/enabled, or boot with "
             "zswap.enabled=0",
             "on: it compresses pages into RAM first, and VRAM gets only the "
             "rest%s",
             zram ? "; before zram it compresses twice" : "");
  else
    finding (r, FINE, "zswap", NULL, "off");
}

static void
check_sysctls (struct report *r, const struct conf *c)
{
  int64_t n;

  if (read_number (root_path ("/proc/sys/vm/page-cluster"), &n)) {
    if (n > 1)
      finding (r, WARNING, "vm.page-cluster", "sysctl vm.page-cluster=0",
               "%" PRId64
               ": each fault reads %d pages, which pays off on disks only",
               n, 1 << n);
    else
      finding (r, FINE, "vm.page-cluster", NULL, "%" PRId64, n);
  }
  if (read_number (root_path ("/proc/sys/vm/swappiness"), &n)) {
    if (n < 60)
      finding (r, WARNING, "vm.swappiness", "sysctl vm.swappiness=100",
               "%" PRId64 ": the kernel drops file pages rather than swap to "
               "memory that is faster than their disk",
               n);
    else
      finding (r, FINE, "vm.swappiness", NULL, "%" PRId64, n);
  }
  if (read_number (root_path ("/proc/sys/kernel/hung_task_panic"), &n) &&
      n > 0) {
    int64_t seconds = 0;
    const int64_t outage = conf_number (c, CONF_OUTAGE_TIMEOUT);

    read_number (root_path ("/proc/sys/kernel/hung_task_timeout_secs"),
                 &seconds);
    if (seconds > 0 && seconds <= outage)
      finding (r, WARNING, "hung_task_panic",
               "sysctl kernel.hung_task_panic=0, or a lower outage-timeout=",
               "on: while there is no server programs may wait for "
               "outage-timeout (%" PRId64 " s), and the kernel panics after "
               "%" PRId64 " s",
               outage, seconds);
    else
      finding (r, FINE, "hung_task_panic", NULL,
               "on, but later than outage-timeout");
  }
}

/* Does a process of that name run?  PID becomes its number, as text. */
static bool
find_process (const char *name, char *pid, size_t size)
{
  const struct dirent *entry;
  char comm[32];
  bool found = false;
  DIR *dir = opendir (root_path ("/proc"));

  while (dir && !found && (entry = readdir (dir)) != NULL)
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
        read_text (root_path ("/proc/%s/comm", entry->d_name), comm,
                   sizeof comm) > 0 &&
        strcmp (comm, name) == 0) {
      snprintf (pid, size, "%.20s", entry->d_name);
      found = true;
    }
  if (dir)
    closedir (dir);
  return found;
}

/* Has it been started with OPTION, or -XOPTION? */
static bool
has_option (const char *pid, const char *option)
{
  char words[4096];
  long n =
      read_text (root_path ("/proc/%s/cmdline", pid), words, sizeof words);

  for (const char *p = words; n > 0 && p < words + n; p += strlen (p) + 1)
    if (strncmp (p, option, strlen (option)) == 0)
      return true;
  return false;
}

/* Programs that kill when memory is short. */
static void
check_killers (struct report *r)
{
  char pid[24];

  if (find_process ("systemd-oomd", pid, sizeof pid))
    finding (r, FINE, "systemd-oomd", NULL,
             "runs: VRAM counts as swap for its SwapUsedLimit= as soon as it "
             "is on");
  if (!find_process ("earlyoom", pid, sizeof pid))
    return;
  if (has_option (pid, "-S"))
    finding (r, WARNING, "earlyoom",
             "start it with -s PERCENT, or restart it when swap is on",
             "runs with -S, which it compares with the swap that was on when "
             "it started");
  else
    finding (r, FINE, "earlyoom", NULL,
             "runs, and reads the amount of swap each time");
}

/* While process 1 waits for a page of its own, it cannot start the next
 * daemon, nor the machine anew.
 */
static void
check_init (struct report *r, bool unit)
{
  if (!unit)
    return;
  if (file_exists (root_path (PID1_SWAP_MAX)))
    finding (r, FINE, "process 1", NULL,
             "is kept out of swap in VRAM, but for what it used before");
  else
    finding (r, WARNING, "process 1",
             "boot with systemd.unified_cgroup_hierarchy=1, and without "
             "cgroup_disable=memory",
             "cannot be kept out of swap: %s is missing", PID1_SWAP_MAX);
}

void
check_memory (struct report *r, const struct conf *c, pid_t server, bool unit)
{
  check_limits (r, c, unit);
  check_memory_limits (r, server, unit);
  check_init (r, unit);
  check_zswap (r, check_swaps (r, c));
  check_sysctls (r, c);
  check_killers (r);
}
