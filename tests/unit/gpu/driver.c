/* nbdkit-vram: runs the stand-in driver inside of a unit test
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "gpu/driver.h"
#include "gpu/library.h"

const struct standin_control *driver;

void
driver_set (const char *name, const char *value)
{
  char variable[64];

  snprintf (variable, sizeof variable, "STANDIN_CUDA_%s", name);
  CHECK_EQ (setenv (variable, value, 1), 0);
}

void
driver_begin (void)
{
  void *handle;

  if (driver == NULL) {
    driver_set ("LATE", "1");
    /* After this libcuda_load finds it by its name. */
    handle = library_open (STANDIN_DIR "/libcuda.so.1");
    if (handle == NULL)
      check_fail (__FILE__, __LINE__, "%s", dlerror ());
    driver = dlsym (handle, "standin_control");
    CHECK (driver != NULL);
    CHECK_EQ (libcuda_load (), 0);
    CHECK_EQ (libcuda.init (0), CUDA_SUCCESS);
  }
  driver->fail (NULL, 0, 0);
}

void
driver_check_freed (void)
{
  CHECK_EQ (driver->held (), 0);
  CHECK_EQ (driver->pending (), 0);
}

uint64_t
driver_used (void)
{
  size_t bytes_free, total;

  CHECK_EQ (libcuda.mem_get_info (&bytes_free, &total), CUDA_SUCCESS);
  return total - bytes_free;
}
