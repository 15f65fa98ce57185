/* nbdkit-vram: a command's side of the control socket
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_CLIENT_H
#define VRAM_SWAP_CLIENT_H

#include <stddef.h>

#include "json.h"

/* Sends the request that J holds, and prints what the daemon tells until it
 * answers.  A signal has the daemon undo it.  Returns the exit status that it
 * answers with, or -1 when no daemon runs.
 */
int client_ask (struct json *j);

/* The same, and stays connected: what was asked for lasts until the descriptor
 * that is returned is closed.  STATUS is what the daemon answers with. Returns
 * -1 when no daemon runs or answers.
 */
int client_keep (struct json *j, int *status);

/* Sends a request and returns the answer, NULL when no daemon runs or answers.
 */
struct json_t *client_get (const char *request);

#endif
