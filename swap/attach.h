/* nbdkit-vram: a server and an nbd device that is attached to it
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_ATTACH_H
#define VRAM_SWAP_ATTACH_H

#include <stdbool.h>

#include "conf.h"
#include "server.h"
#include "state.h"

struct attachment {
  struct server server;
  bool started; /* the server, by us */
  int device;   /* N of /dev/nbdN */
  char path[32];
};

/* Loads the driver, starts the server if need be, attaches a device; says each
 * step.  Returns 0, or -1 with a message and all of it undone.
 */
int attach_up (const struct conf *c, struct state *st, struct attachment *a);

/* The same for writing to the device, which is refused while swap is on. */
int
attach_for_test (const struct conf *c, struct state *st, struct attachment *a);

/* Undoes what attach_up did, no more.  Returns 0, or -1 with a message. */
int attach_down (struct state *st, const struct attachment *a);

/* Detaches what an earlier run left attached without swap on it.  Returns 0,
 * or -1 with a message.
 */
int attach_clean (struct state *st);

#endif
