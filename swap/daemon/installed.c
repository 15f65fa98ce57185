/* nbdkit-vram: whether a server of what is installed now would start
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Since the running server was started its plugin may have been replaced by
 * one that does not load, or NVIDIA's library by a version that does not match
 * the kernel module.  If the server were ended then, no other could take its
 * place, and the swapped data would be lost.
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu.h"
#include "jobs.h"
#include "msg.h"
#include "plugin-check.h"
#include "run.h"
#include "server-command.h"

static int
refuse (const char *why)
{
  log_error ("not replacing the server: the new one would not start: %s", why);
  return EXIT_FAILED;
}

/* Whether what is installed knows the superblock VERSION: that of a disk whose
 * VRAM comes and goes is another one.
 */
static bool
knows_version (const char *output, uint64_t version)
{
  static const char *const keys[] = {
    "vram_superblock_version",
    "vram_superblock_elastic",
  };
  const char *value;

  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    value = gpu_dumped (output, keys[i]);
    if (value && strtoull (value, NULL, 10) == version)
      return true;
  }
  return false;
}

/* Whether the server's USER can make the socket in FOLDER. */
static bool
can_listen (const struct unprivileged *user, const char *folder)
{
  bool can;

  if (user->same)
    return access (folder, W_OK | X_OK) == 0;
  if (setegid (user->gid) == -1 || seteuid (user->uid) == -1)
    return false;
  can = faccessat (AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
  return seteuid (0) == 0 && setegid (0) == 0 && can;
}

int
job_check (const void *arg)
{
  const struct job_order *o = arg;
  const char *value;
  char why[256], folder[128], *slash;
  struct run r;

  snprintf (folder, sizeof folder, "%s", conf_text (o->conf, CONF_SOCKET));
  slash = strrchr (folder, '/');
  slash[slash == folder] = '\0';
  if (!can_listen (o->user, folder)) {
    snprintf (why, sizeof why,
              "its user cannot write to %s, the folder of socket=", folder);
    return refuse (why);
  }
  if (!plugin_dump (o->conf, &r))
    return refuse (run_reason (&r));
  if (!server_is_ours (o->conf))
    return EXIT_OK;
  value = gpu_dumped (r.output, "vram_error");
  if (value)
    return refuse (value);
  value = gpu_dumped (r.output, "vram_num_devices");
  if (!value || atoi (value) == 0)
    return refuse ("no GPU found");
  if (!knows_version (r.output, o->disk_version))
    return refuse (
        "its version cannot take over this disk; run 'vram-swap down' first");
  return EXIT_OK;
}
