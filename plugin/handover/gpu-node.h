/* nbdkit-vram: the device node that keeps the GPU running between servers
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_GPU_NODE_H
#define VRAM_GPU_NODE_H

/* Open the device node /dev/nvidiaN of the GPU at the PCI address PCI
 * ("0000:01:00.0").  Without persistence mode, NVIDIA's driver shuts a GPU
 * down, and loses its VRAM, when no process has this node open.  Descriptors
 * of VRAM do not count.  Returns -1 if there is no node, as in WSL2.
 */
extern int gpu_node_open (const char *pci);

#endif /* VRAM_GPU_NODE_H */
