/* nbdkit-vram: keeps the GPU's clocks down while the server is idle
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda/boost.h"
#include "gpu/cuda/context.h"

#define VARIABLE "CUDA_DISABLE_PERF_BOOST"

void
boost_disable (void)
{
  setenv (VARIABLE, "1", 0);
}

bool
boost_version_known (const char *version)
{
  static const unsigned first[3] = { 580, 105, 8 };
  unsigned number[3] = { 0, 0, 0 };

  if (sscanf (version, "%u.%u.%u", &number[0], &number[1], &number[2]) < 2)
    return false;
  for (unsigned i = 0; i < 3; ++i)
    if (number[i] != first[i])
      return number[i] > first[i];
  return true;
}

enum superblock_quiet
boost_state (void)
{
  const char *value = getenv (VARIABLE);
  char version[CUDA_DRIVER_VERSION];

  if (value == NULL || strcmp (value, "1") != 0)
    return QUIET_BOOST;
  /* In WSL2 the module is invisible, and the version is "none". */
  if (strcmp (cuda_driver_version (version), "none") == 0)
    return QUIET_UNKNOWN;
  return boost_version_known (version) ? QUIET_YES : QUIET_OLD_DRIVER;
}

const char *
boost_text (enum superblock_quiet state)
{
  switch (state) {
  case QUIET_YES:
    return "yes";
  case QUIET_BOOST:
    return "no: boost=yes, or " VARIABLE " is set to another value than 1";
  case QUIET_OLD_DRIVER:
    return "no: the driver is older than 580.105.08";
  case QUIET_UNKNOWN:
    break;
  }
  return "unknown: the driver's version is not visible";
}
