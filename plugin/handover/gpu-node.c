/* nbdkit-vram: the device node that keeps the GPU running between servers
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <stdio.h>

#include "common/log.h"
#include "handover/gpu-node.h"

/* The number N of /dev/nvidiaN, or -1. */
static int
find_minor (const char *pci)
{
  char path[128], line[256];
  int minor = -1;
  FILE *fp;

  snprintf (path, sizeof path, "/proc/driver/nvidia/gpus/%s/information", pci);
  fp = fopen (path, "re");
  if (fp == NULL)
    return -1;
  while (minor == -1 && fgets (line, sizeof line, fp))
    if (sscanf (line, "Device Minor: %d", &minor) != 1)
      minor = -1;
  fclose (fp);
  return minor;
}

int
gpu_node_open (const char *pci)
{
  int minor = find_minor (pci), fd;
  char path[64];

  if (minor < 0)
    return -1;
  snprintf (path, sizeof path, "/dev/nvidia%d", minor);
  fd = open (path, O_RDWR | O_CLOEXEC);
  if (fd == -1)
    log_debug ("cannot open %s: %m", path);
  return fd;
}
