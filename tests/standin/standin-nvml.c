/* nbdkit-vram: the stand-in for NVIDIA's management library, with one GPU
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * STANDIN_NVML_POWER (mW), _SM, _SM_MAX, _MEMORY (MHz), _STATE and _BUSY
 * (percent) are its values.  A value that is not set is not supported.
 * STANDIN_NVML_DRIVER is the driver's version.  Each nvmlInit_v2 appends a
 * line to the file STANDIN_NVML_LOG, and with STANDIN_NVML_HANGS it does not
 * return.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"

#define PREFIX "STANDIN_NVML_"
#define KNOWN  " POWER SM SM_MAX MEMORY STATE BUSY DRIVER LOG HANGS "
#define PCI    "0000:01:00.0"

enum { SUCCESS, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
enum { CLOCK_SM = 1, CLOCK_MEM = 2 };

/* The prototypes of the real library's header. */
int nvmlInit_v2 (void);
int nvmlShutdown (void);
int nvmlSystemGetDriverVersion (char *version, unsigned length);
int nvmlDeviceGetHandleByPciBusId_v2 (const char *pci, void **device);
int nvmlDeviceGetName (void *device, char *name, unsigned length);
int nvmlDeviceGetMemoryInfo (void *device, unsigned long long *memory);
int nvmlDeviceGetPowerUsage (void *device, unsigned *milliwatts);
int nvmlDeviceGetClockInfo (void *device, int which, unsigned *mhz);
int nvmlDeviceGetMaxClockInfo (void *device, int which, unsigned *mhz);
int nvmlDeviceGetPerformanceState (void *device, int *state);
int nvmlDeviceGetUtilizationRates (void *device, unsigned *percent);

static int gpu; /* its address is the handle */

static int
number (void *device, const char *name, unsigned *n)
{
  const char *text = settings_get (PREFIX, name);

  if (device != &gpu)
    return INVALID_ARGUMENT;
  if (!text)
    return NOT_SUPPORTED;
  *n = (unsigned) settings_number (name, text);
  return SUCCESS;
}

EXPORT int
nvmlInit_v2 (void)
{
  const char *log = settings_get (PREFIX, "LOG");
  FILE *fp;

  settings_check (PREFIX, KNOWN);
  if (log) {
    fp = fopen (log, "a");
    if (!fp || fputs ("nvmlInit_v2\n", fp) == EOF || fclose (fp) == EOF)
      settings_fatal ("cannot write to %s", log);
  }
  while (settings_get (PREFIX, "HANGS"))
    pause ();
  return SUCCESS;
}

EXPORT int
nvmlShutdown (void)
{
  return SUCCESS;
}

EXPORT int
nvmlSystemGetDriverVersion (char *version, unsigned length)
{
  const char *driver = settings_get (PREFIX, "DRIVER");

  snprintf (version, length, "%s", driver ? driver : "580.159.04");
  return SUCCESS;
}

EXPORT int
nvmlDeviceGetHandleByPciBusId_v2 (const char *pci, void **device)
{
  if (strcmp (pci, PCI) != 0)
    return NOT_FOUND;
  *device = &gpu;
  return SUCCESS;
}

EXPORT int
nvmlDeviceGetName (void *device, char *name, unsigned length)
{
  if (device != &gpu)
    return INVALID_ARGUMENT;
  snprintf (name, length, "Stand-in GPU 0");
  return SUCCESS;
}

/* Total, free, used. */
EXPORT int
nvmlDeviceGetMemoryInfo (void *device, unsigned long long *memory)
{
  if (device != &gpu)
    return INVALID_ARGUMENT;
  memory[0] = 8ull << 30;
  memory[1] = 6ull << 30;
  memory[2] = 2ull << 30;
  return SUCCESS;
}

EXPORT int
nvmlDeviceGetPowerUsage (void *device, unsigned *milliwatts)
{
  return number (device, "POWER", milliwatts);
}

EXPORT int
nvmlDeviceGetClockInfo (void *device, int which, unsigned *mhz)
{
  return which == CLOCK_SM    ? number (device, "SM", mhz)
         : which == CLOCK_MEM ? number (device, "MEMORY", mhz)
                              : NOT_SUPPORTED;
}

EXPORT int
nvmlDeviceGetMaxClockInfo (void *device, int which, unsigned *mhz)
{
  return which == CLOCK_SM ? number (device, "SM_MAX", mhz) : NOT_SUPPORTED;
}

EXPORT int
nvmlDeviceGetPerformanceState (void *device, int *state)
{
  unsigned n;
  int error = number (device, "STATE", &n);

  if (error == SUCCESS)
    *state = (int) n;
  return error;
}

/* Of the GPU and of its memory. */
EXPORT int
nvmlDeviceGetUtilizationRates (void *device, unsigned *percent)
{
  percent[1] = 0;
  return number (device, "BUSY", &percent[0]);
}
