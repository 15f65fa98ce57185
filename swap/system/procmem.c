/* nbdkit-vram: whether a process is protected from the swap that it serves
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procmem.h"
#include "root.h"

/* What prctl (PR_SET_IO_FLUSHER) sets in a task's flags, which the kernel
 * shows in the 9th field of /proc/PID/stat: PF_MEMALLOC_NOIO and
 * PF_LOCAL_THROTTLE, as in its include/linux/sched.h since 5.6.
 */
#define IO_FLUSHER_FLAGS UINT64_C (0x00180000)

static bool
is_io_flusher (const char *stat)
{
  const char *at = strrchr (stat, ')'); /* the name may hold blanks */
  uint64_t flags;

  return at &&
         sscanf (at + 1, " %*c %*d %*d %*d %*d %*d %" SCNu64, &flags) == 1 &&
         (flags & IO_FLUSHER_FLAGS) == IO_FLUSHER_FLAGS;
}

bool
procmem_read (struct procmem *r, pid_t pid)
{
  const struct dirent *entry;
  const char *status = root_path ("/proc/%ld/status", (long) pid);
  char text[1024];
  int64_t adj = 0;
  DIR *dir;

  memset (r, 0, sizeof *r);
  if (!read_field_kib (status, "VmRSS:", &r->resident) ||
      !read_field_kib (status, "VmLck:", &r->locked) ||
      !read_field_kib (status, "VmSwap:", &r->swapped))
    return false;
  read_number (root_path ("/proc/%ld/oom_score_adj", (long) pid), &adj);
  r->oom_score_adj = adj;

  dir = opendir (root_path ("/proc/%ld/task", (long) pid));
  if (!dir)
    return false;
  while ((entry = readdir (dir)) != NULL)
    if (entry->d_name[0] != '.' &&
        read_text (
            root_path ("/proc/%ld/task/%s/stat", (long) pid, entry->d_name),
            text, sizeof text) > 0) {
      r->threads++;
      r->io_flushers += is_io_flusher (text);
    }
  closedir (dir);
  return true;
}
