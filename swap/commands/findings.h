/* nbdkit-vram: what the parts of vram-swap check share
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_FINDINGS_H
#define VRAM_SWAP_FINDINGS_H

#include <stdbool.h>
#include <sys/types.h>

#include "conf.h"
#include "json.h"
#include "server.h"

#define SWAP_UNIT "vram-swap.service"

enum verdict { FINE, WARNING, PROBLEM };

/* Where the findings go; one line each, or one object each. */
struct report {
  struct json *json;
  unsigned problems, warnings;
};

/* About WHAT; FIX is what to do about it, or NULL when it is fine. */
void finding (struct report *r, enum verdict verdict, const char *what,
              const char *fix, const char *fmt, ...)
    __attribute__ ((format (printf, 5, 6)));

/* NVIDIA's driver, the plugin, the GPU.  S is the server, or NULL when none
 * answers.  Wakes no GPU.
 */
void
check_gpu (struct report *r, const struct conf *c, const struct server *s);

/* Whether the server, a process or 0, stays in memory, run by its UNIT or not;
 * other swaps, and what the kernel and others do when memory is short.
 */
void
check_memory (struct report *r, const struct conf *c, pid_t server, bool unit);

/* Suspend and hibernation. */
void check_sleep (struct report *r, const struct conf *c);

#endif
