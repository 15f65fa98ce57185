/* nbdkit-vram: the server's process: its command line, start and end
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_SERVICE_H
#define VRAM_SWAP_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "conf.h"
#include "server.h"
#include "state.h"

/* The command line of the server, the only place that knows it.  The words
 * live in a buffer that the next call reuses.  NULL-terminated.
 */
const char *const *service_command (const struct conf *c);

/* Whether PLUGIN, a name or a file, is called like nbdkit-vram's.  Another one,
 * as tests use, knows a size and no more.
 */
bool service_is_our_plugin (const char *plugin);

/* Runs the server, and another one when it dies, until one ends as it was told
 * to.  Returns an exit status of msg.h, with a message when it is not EXIT_OK.
 */
int service_serve (const struct conf *c);

/* Makes sure that a server answers on the socket, starting one if nobody
 * does: by its unit where systemd runs and knows it, otherwise by ourselves.
 * STARTED tells whether one was started.  Returns 0, or -1 with a message
 * (and then with what was started stopped again).
 */
int service_start (const struct conf *c, struct state *st, struct server *s,
                   bool *started);

/* Ends the server, which must have no client.  Waits until it has gone, but
 * for one that its unit ends: that needs the lock, so who has let go of it waits
 * by service_await_end ().  Returns 0, or -1 with a message.
 */
int service_stop (struct state *st);

/* Waits until the unit has ended the server, if this process asked for that.
 * Not in a unit's own stop, which the server's may wait for.  The caller does
 * not hold the lock.
 */
void service_await_end (void);

/* state_lock () for what may attach to a server: at a time when the one that
 * answers is not about to be ended.
 */
int service_lock (const struct conf *c, unsigned seconds);

/* Is the server's unit being stopped, or about to be? */
bool service_is_ending (void);

/* Are we what a unit runs in order to stop? */
bool service_stops_unit (void);

/* Waits until the server on the socket answers, for the unit's readiness.
 * PID (or 0) is the server's process: its end ends the wait.  Returns 0, or -1
 * with a message.
 */
int service_wait (const struct conf *c, pid_t pid, struct server *s);

/* Whether systemd runs here and has our server's unit. */
bool service_has_unit (void);

#define SERVER_UNIT "vram-swap-server.service"
#define SWAP_UNIT   "vram-swap.service"

#endif
