/* nbdkit-vram: what vram-swap remembers from one call to the next
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_STATE_H
#define VRAM_SWAP_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Why swap is down although the service is wanted. */
enum paused { PAUSED_NO, PAUSED_POWER, PAUSED_SLEEP, PAUSED_IDLE };

/* Kept in /run/vram-swap.state, which a reboot removes. */
struct state {
  int device;       /* N of /dev/nbdN that we attached, -1 for none */
  pid_t attach_pid; /* the process that attached it */
  unsigned connections;
  unsigned timeout;
  pid_t server_pid;       /* of a server that we started ourselves, or 0 */
  int64_t server_started; /* as process_started () has it */
  pid_t watcher_pid;      /* of 'vram-swap reconnect', likewise */
  int64_t watcher_started;
  int64_t since;       /* ms of CLOCK_BOOTTIME when swap went on */
  int64_t empty_since; /* the same when nothing was swapped any more, or 0 */
  enum paused paused;
  bool awake; /* paused for a sleep that is over: up has failed since */
};

/* Reads what is remembered; all defaults when nothing is.  When swap is on, on
 * an nbd device that nobody remembers but that carries our label, it is taken
 * for ours: the server that serves it must not be ended as if it were unused.
 */
void state_read (struct state *st);

/* Returns 0, or -1 with a message. */
int state_write (const struct state *st);

const char *paused_name (enum paused why);

/* Held by whatever changes something, so that two of them do not.  Waits up to
 * SECONDS for another holder.  Returns a descriptor, or -1 with a message.
 */
int state_lock (unsigned seconds);

/* The device that is attached by us, or -1: the one that is remembered, when
 * the kernel says that the same process attached it.
 */
int state_device (const struct state *st);

#endif
