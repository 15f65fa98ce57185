/* nbdkit-vram: processes that are not our children
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "process.h"
#include "root.h"

int64_t
process_started (pid_t pid)
{
  char text[1024], state;
  const char *at;
  int64_t ticks;

  if (read_text (root_path ("/proc/%ld/stat", (long) pid), text,
                 sizeof text) <= 0)
    return -1;
  at = strrchr (text, ')'); /* the name may hold anything */
  if (!at ||
      sscanf (at + 1,
              " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
              "%*d %*d %*d %*d %" SCNd64,
              &state, &ticks) != 2 ||
      state == 'Z')
    return -1;
  return ticks;
}
