/* nbdkit-vram: keeps the GPU's clocks down while the server is idle
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_BOOST_H
#define VRAM_BOOST_H

#include <stdbool.h>

#include "disk/superblock.h"

/* A CUDA context raises the GPU's clocks for as long as it exists, also while
 * nothing runs: 48 W on an H100.  libcuda of driver 580.105.08 and newer reads
 * CUDA_DISABLE_PERF_BOOST in cuInit and leaves them alone if it is 1; an older
 * one ignores it.
 */

/* Set CUDA_DISABLE_PERF_BOOST=1 in this process unless the user has set it.
 * Call it before cuInit and while no other thread reads the environment.
 */
extern void boost_disable (void);

/* Whether clocks stay down while the context is idle, as far as the
 * environment and the version of the kernel module tell.
 */
extern enum superblock_quiet boost_state (void);

/* Whether VERSION, as in /sys/module/nvidia/version, has the variable. */
extern bool boost_version_known (const char *version);

/* "yes", or "no: REASON". */
extern const char *boost_text (enum superblock_quiet state);

#endif /* VRAM_BOOST_H */
