/* nbdkit-vram: what the NVIDIA driver tells about itself and its GPUs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_GPU_H
#define VRAM_SWAP_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of all numbers -1 is not known. */
struct gpu {
  bool known;
  char name[96];
  char pci[24];              /* 0000:01:00.0 */
  int64_t total, used, free; /* bytes of VRAM */
  char driver[32];
  int power_mw;
  int sm_mhz, sm_max_mhz, memory_mhz;
  int performance_state; /* 0 to 15, 0 is the fastest */
  int busy_percent;      /* of the time, lately */
};

/* Knows nothing. */
void gpu_init (struct gpu *g);

/* "70.5 W, SM 345 MHz, memory 2619 MHz, P0", as far as it is known, or "". */
void gpu_load_text (const struct gpu *g, char *buf, size_t size);

/* The value of the line KEY=VALUE in what nbdkit-vram-plugin adds to nbdkit
 * --dump-plugin, or NULL.  In a buffer that the next call reuses.
 */
const char *gpu_dumped (const char *dump, const char *key);

/* The GPU of that dump that a server would take: with a device= the only one,
 * otherwise the one with most free VRAM.  False when the dump lists none.
 */
bool gpu_of_dump (struct gpu *g, const char *dump);

/* The version of the kernel's module, from /sys.  False if it is not loaded.
 */
bool gpu_module_version (char *buf, size_t size);

/* Whether the driver of that version heeds CUDA_DISABLE_PERF_BOOST, without
 * which a server at rest keeps the clocks up: 580.105.08 and newer.
 */
bool gpu_driver_can_rest (const char *version);

/* Whether this is Windows' subsystem for Linux, whose driver is Windows'. */
bool gpu_is_wsl (void);

/* Whether the driver saves VRAM over suspend, from its parameters.  -1: there
 * is no driver to ask.
 */
int gpu_preserves (void);

/* None of these wakes a GPU.
 *
 * "active", "suspended", ... of the GPU at PCI, as the kernel's power
 * management has it.  False when not known.
 */
bool gpu_power_state (const char *pci, char *buf, size_t size);

/* Whether it can be asked without being woken up. */
bool gpu_is_awake (const char *pci);

/* The first of NVIDIA's GPUs that is asleep.  Starting CUDA would wake it up,
 * whichever GPU is meant.
 */
bool gpu_find_asleep (char *pci, size_t size);

/* Whether a display is connected to NVIDIA's GPU at PCI ("*": to any), and the
 * name of the connector.
 */
bool gpu_drives_display (const char *pci, char *connector, size_t size);

/* The size of the GPU's largest BAR, in bytes, or -1. */
int64_t gpu_largest_bar (const char *pci);

#endif
