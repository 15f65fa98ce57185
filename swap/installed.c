/* nbdkit-vram: whether a server of what is installed now would start
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Since the running server was started its plugin may have been replaced by one
 * that does not load, or NVIDIA's library by one that is not of the kernel
 * module's version.  A server that is ended then has no successor, and what is
 * swapped out is lost.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "jobs.h"
#include "msg.h"
#include "plugin-check.h"
#include "run.h"
#include "server-command.h"

static int
refuse (const char *why)
{
  error (
      "the server is not replaced, because the next one would not start: %s; "
      "the old one goes on",
      why);
  return EXIT_FAILED;
}

int
job_check (const void *arg)
{
  const struct job_order *o = arg;
  const char *value;
  struct run r;

  if (!plugin_dump (o->conf, &r))
    return refuse (run_reason (&r));
  if (!server_is_ours (o->conf))
    return EXIT_OK;
  value = gpu_dumped (r.output, "vram_error");
  if (value)
    return refuse (value);
  value = gpu_dumped (r.output, "vram_num_devices");
  if (!value || atoi (value) == 0)
    return refuse ("it finds no GPU");
  value = gpu_dumped (r.output, "vram_superblock_version");
  if (!value || strtoull (value, NULL, 10) != o->disk_version)
    return refuse ("it is of a version that cannot take this disk over; "
                   "'vram-swap down' first");
  return EXIT_OK;
}
