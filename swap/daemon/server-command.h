/* nbdkit-vram: the server's command line
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_SERVER_COMMAND_H
#define VRAM_SWAP_SERVER_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"

#define SERVER_WORDS_MAX 64

/* The only place that knows it.  NULL-terminated, in a buffer that the next
 * call reuses; NULL with a message when it is too long.
 */
const char *const *server_command (const struct conf *c);

/* How much VRAM is left free, in bytes: more where a desktop needs it. */
int64_t server_headroom (const struct conf *c);

/* Whether the configured plugin is ours: others, as tests use, know a size and
 * no more, and do not say when they are ready.
 */
bool server_is_ours (const struct conf *c);

#endif
