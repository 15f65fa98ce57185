/* nbdkit-vram: the device node that keeps the GPU running between servers
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_GPU_NODE_H
#define VRAM_GPU_NODE_H

/* NVIDIA's driver shuts a GPU down, and VRAM with it, when no process has its
 * device node open, unless persistence mode is on.  Descriptors of VRAM do not
 * count.  Open the node /dev/nvidiaN of the GPU at the PCI address PCI
 * ("0000:01:00.0"), to be held for as long as the VRAM.  Returns -1 where there
 * is none, as in WSL2.
 */
extern int gpu_node_open (const char *pci);

#endif /* VRAM_GPU_NODE_H */
