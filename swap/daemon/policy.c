/* nbdkit-vram: when swap goes off by itself
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "gpu.h"
#include "meminfo.h"
#include "policy.h"
#include "root.h"

/* Memory is short, for the end of idle-down, when less of it is available. */
#define SHORT_PERCENT 20

bool
policy_power_low (const struct conf *c, const struct power *p, bool paused)
{
  int threshold = conf_battery_threshold (c);

  if (!p->on_battery || conf_is (c, CONF_POWER_POLICY, "keep"))
    return false;
  /* Once below the threshold it waits for mains, not for a battery that
   * recovers a little when the load goes.
   */
  return threshold == -1 || paused || p->charge < threshold;
}

bool
policy_memory_short (void)
{
  struct meminfo m;

  return meminfo_read (&m) == 0 &&
         m.available <= m.total / 100 * SHORT_PERCENT;
}

bool
policy_hibernates (const char *action)
{
  return strstr (action, "hibernate") || strstr (action, "hybrid");
}

/* Whether PARAMETER is 1 in what the driver shows of itself. */
static bool
driver_has (const char *text, const char *parameter)
{
  const char *at = strstr (text, parameter);

  return at && strstr (at, ": 1") == at + strlen (parameter);
}

/* NVIDIA's services save VRAM while programs still run, by default to /tmp,
 * and need memory for that when /tmp is a tmpfs: memory that our swap may have
 * to provide.
 */
bool
policy_preserves_safely (const char **why)
{
  char text[4096], folder[256];
  const char *at;
  struct statfs fs;

  if (gpu_preserves () <= 0) {
    *why = "the driver does not preserve VRAM";
    return false;
  }
  if (read_text (root_path ("/proc/driver/nvidia/params"), text,
                 sizeof text) <= 0)
    return false;
  *why = "the driver's own services save VRAM, while programs run";
  if (!driver_has (text, "UseKernelSuspendNotifiers") &&
      !file_exists (root_path ("/etc/systemd/system/systemd-suspend.service."
                               "requires/nvidia-suspend.service")))
    return false;
  at = strstr (text, "TemporaryFilePath: \"");
  if (!at || sscanf (at, "TemporaryFilePath: \"%255[^\"]", folder) != 1)
    snprintf (folder, sizeof folder, "/tmp");
  *why = "the driver saves VRAM in a folder that is in RAM";
  return statfs (root_path ("%s", folder), &fs) == 0 &&
         (unsigned long) fs.f_type != TMPFS_MAGIC &&
         (unsigned long) fs.f_type != RAMFS_MAGIC;
}

bool
policy_sleep_drains (const struct conf *c, const char *action,
                     const char **why)
{
  if (policy_hibernates (action)) {
    *why = "the hibernation image could be written to it";
    return true;
  }
  if (conf_is (c, CONF_SLEEP_POLICY, "keep")) {
    *why = "as configured";
    return false;
  }
  *why = "as configured";
  if (conf_is (c, CONF_SLEEP_POLICY, "drain"))
    return true;
  if (!policy_preserves_safely (why))
    return true;
  *why = "the driver preserves VRAM";
  return false;
}
