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

/* Ends the server, which must have no client.  Waits until it has gone.
 * Returns 0, or -1 with a message.
 */
int service_stop (struct state *st);

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
