/* nbdkit-vram: what the NVIDIA driver tells about itself and its GPUs
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_GPU_H
#define VRAM_SWAP_GPU_H

#include <stdbool.h>
#include <stdint.h>

struct gpu {
  bool known;
  char name[96];
  char pci[24];              /* 0000:01:00.0 */
  int64_t total, used, free; /* bytes of VRAM, -1 when not known */
  char driver[32];
};

/* Asks nvidia-smi, for at most a few seconds, about the GPU at PCI address
 * PCI, or about the first one when it is NULL.  Note that asking wakes up a
 * GPU that sleeps.  False when nobody could tell.
 */
bool gpu_ask (struct gpu *g, const char *pci);

/* The value of the line KEY=VALUE in what nbdkit-vram-plugin adds to nbdkit
 * --dump-plugin, or NULL.  In a buffer that the next call reuses.
 */
const char *gpu_dumped (const char *dump, const char *key);

/* The GPU of that dump that a server would take: with a device= the only one,
 * otherwise the one with most free VRAM.  False when there is none in it.
 */
bool gpu_of_dump (struct gpu *g, const char *dump);

/* The version of the kernel's module, from /proc.  False without one. */
bool gpu_module_version (char *buf, size_t size);

/* Whether the driver saves VRAM over suspend, from its parameters.  -1: there
 * is no driver to ask.
 */
int gpu_preserves (void);

/* "active", "suspended", ... of the GPU at PCI, as the kernel's power
 * management has it.  False when not known.
 */
bool gpu_power_state (const char *pci, char *buf, size_t size);

/* The PCI address in TEXT, such as a server's description, or false. */
bool gpu_find_pci (const char *text, char *pci, size_t size);

/* The size of the GPU's largest BAR, in bytes, or -1. */
int64_t gpu_largest_bar (const char *pci);

#endif
