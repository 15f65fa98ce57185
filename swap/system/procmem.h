/* nbdkit-vram: whether a process is protected from the swap that it serves
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_PROCMEM_H
#define VRAM_SWAP_PROCMEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct procmem {
  int64_t resident; /* bytes in RAM */
  int64_t locked;   /* of them locked */
  int64_t swapped;  /* swapped out: should be 0 */
  int oom_score_adj;
  unsigned threads;
  unsigned io_flushers; /* threads that are; should be all */
};

/* False when the process is not there (or may not be looked at). */
bool procmem_read (struct procmem *r, pid_t pid);

#endif
