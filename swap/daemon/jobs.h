/* nbdkit-vram: the jobs of the daemon
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_JOBS_H
#define VRAM_SWAP_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"
#include "job.h"
#include "unprivileged.h"

/* What a job is told.  Each returns an exit status of msg.h; its messages say
 * what was done, or what failed and was undone.
 */
struct job_order {
  const struct conf *conf;
  uint64_t disk_version;           /* check: of the superblock that is kept */
  const struct unprivileged *user; /* check: the server's */
  struct attachment attached; /* what is attached; device -1 for nothing */
  pid_t server;               /* 0 for none */
  bool force;                 /* drain: although it does not seem to fit */
  bool wait;                  /* drain: until it fits */
  int64_t wait_ms; /* for at most so long; -1 for as long as it takes */
  bool fill;       /* test: the whole device */
};

/* Loads the driver, waits for the server, attaches a device, switches swap on.
 */
int job_up (const void *order);

/* Empties the device and switches it off, and detaches it. */
int job_down (const void *order);

/* Attaches a device, writes, reads back and compares, detaches it. */
int job_test (const void *order);

/* Whether a server of what is installed now would start. */
int job_check (const void *order);

/* For job_up and job_test.  Attaches a device and tells the daemon; A is what
 * is attached.  Returns 0, or -1 with a message and all of it undone.
 */
int attach_device (const struct job_order *order, struct attachment *a);

#endif
