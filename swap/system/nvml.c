/* nbdkit-vram: asks NVIDIA's management library about a GPU
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Types and numbers are those of NVML's API reference, version 12.  The
 * library comes with the driver and is opened when it is needed.
 */

#include <config.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nvml.h"

#define LIBRARY  "libnvidia-ml.so.1"
#define LIMIT_MS 3000

typedef int nvmlReturn_t; /* 0 is success */
typedef struct nvmlDevice_st *nvmlDevice_t;

enum { NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEM };

struct nvml_memory {
  unsigned long long total, free, used; /* bytes */
};

struct nvml_utilization {
  unsigned gpu, memory; /* percent of the last second or so */
};

struct nvml {
  nvmlReturn_t (*init) (void);
  nvmlReturn_t (*shutdown) (void);
  nvmlReturn_t (*driver_version) (char *version, unsigned length);
  nvmlReturn_t (*handle) (const char *pci, nvmlDevice_t *device);
  nvmlReturn_t (*name) (nvmlDevice_t, char *name, unsigned length);
  nvmlReturn_t (*memory) (nvmlDevice_t, struct nvml_memory *memory);
  nvmlReturn_t (*power) (nvmlDevice_t, unsigned *milliwatts);
  nvmlReturn_t (*clock) (nvmlDevice_t, int which, unsigned *mhz);
  nvmlReturn_t (*max_clock) (nvmlDevice_t, int which, unsigned *mhz);
  nvmlReturn_t (*state) (nvmlDevice_t, int *state);
  nvmlReturn_t (*utilization) (nvmlDevice_t, struct nvml_utilization *u);
};

static bool
load (struct nvml *n)
{
  const struct {
    const char *name;
    void *entry;
  } entries[] = {
    { "nvmlInit_v2", &n->init },
    { "nvmlShutdown", &n->shutdown },
    { "nvmlSystemGetDriverVersion", &n->driver_version },
    { "nvmlDeviceGetHandleByPciBusId_v2", &n->handle },
    { "nvmlDeviceGetName", &n->name },
    { "nvmlDeviceGetMemoryInfo", &n->memory },
    { "nvmlDeviceGetPowerUsage", &n->power },
    { "nvmlDeviceGetClockInfo", &n->clock },
    { "nvmlDeviceGetMaxClockInfo", &n->max_clock },
    { "nvmlDeviceGetPerformanceState", &n->state },
    { "nvmlDeviceGetUtilizationRates", &n->utilization },
  };
  void *library = dlopen (LIBRARY, RTLD_NOW | RTLD_LOCAL);

  for (size_t i = 0; library && i < sizeof entries / sizeof entries[0]; i++) {
    void *entry = dlsym (library, entries[i].name);

    if (!entry)
      return false;
    memcpy (entries[i].entry, &entry, sizeof entry);
  }
  return library != NULL;
}

/* What a GPU does not support stays -1. */
static void
ask_device (const struct nvml *n, nvmlDevice_t device, struct gpu *g)
{
  struct nvml_utilization utilization;
  struct nvml_memory memory;
  unsigned u;
  int state;

  g->known = true;
  n->driver_version (g->driver, sizeof g->driver);
  n->name (device, g->name, sizeof g->name);
  if (n->memory (device, &memory) == 0) {
    g->total = memory.total;
    g->used = memory.used;
    g->free = memory.free;
  }
  if (n->power (device, &u) == 0)
    g->power_mw = u;
  if (n->clock (device, NVML_CLOCK_SM, &u) == 0)
    g->sm_mhz = u;
  if (n->max_clock (device, NVML_CLOCK_SM, &u) == 0)
    g->sm_max_mhz = u;
  if (n->clock (device, NVML_CLOCK_MEM, &u) == 0)
    g->memory_mhz = u;
  if (n->state (device, &state) == 0 && state <= 15)
    g->performance_state = state;
  if (n->utilization (device, &utilization) == 0)
    g->busy_percent = utilization.gpu;
}

static void __attribute__ ((noreturn)) be_child (const char *pci, int out)
{
  struct gpu g;
  struct nvml n;
  nvmlDevice_t device;

  gpu_init (&g);
  snprintf (g.pci, sizeof g.pci, "%s", pci);
  if (load (&n) && n.init () == 0) {
    if (n.handle (pci, &device) == 0)
      ask_device (&n, device, &g);
    n.shutdown ();
  }
  _exit (!g.known || write (out, &g, sizeof g) != sizeof g);
}

bool
nvml_ask (struct gpu *g, const char *pci)
{
  struct pollfd from = { .events = POLLIN };
  int out[2];
  pid_t pid;

  gpu_init (g);
  if (pipe2 (out, O_CLOEXEC) == -1)
    return false;
  pid = fork ();
  if (pid == 0)
    be_child (pci, out[1]);
  close (out[1]);
  from.fd = out[0];
  if (pid == -1 || poll (&from, 1, LIMIT_MS) <= 0 ||
      read (out[0], g, sizeof *g) != sizeof *g)
    gpu_init (g);
  close (out[0]);
  /* A child that hangs in the driver may end later. */
  if (pid > 0) {
    kill (pid, SIGKILL);
    for (unsigned i = 0; i < 20 && waitpid (pid, NULL, WNOHANG) == 0; i++)
      usleep (5000);
  }
  return g->known;
}
