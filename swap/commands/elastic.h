/* nbdkit-vram: what status says of VRAM that comes and goes
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_ELASTIC_H
#define VRAM_SWAP_ELASTIC_H

#include "json.h"

/* Both take the object "elastic" of the daemon's answer, or NULL. */

/* As lines of text, none where the server does not say. */
void elastic_print (const struct json_t *e);

/* As the member "elastic" of J, null where the server does not say. */
void elastic_print_json (struct json *j, const struct json_t *e);

#endif
