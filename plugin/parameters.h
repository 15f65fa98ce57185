/* nbdkit-vram: parameters of the command line
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PARAMETERS_H
#define VRAM_PARAMETERS_H

#include <stdint.h>

#include "size.h"

/* Parse VALUE of the parameter KEY: a size as nbdkit_parse_size takes it, a
 * percentage such as "80%", or "max".  Returns 0, or -1 after log_error.
 */
extern int size_parse (const char *key, const char *value, struct size *size);

/* Parse VALUE of the parameter KEY as a plain size of at least MIN bytes.
 * Returns 0, or -1 after log_error.
 */
extern int size_parse_bytes (const char *key, const char *value, uint64_t min,
                             uint64_t *bytes);

#endif /* VRAM_PARAMETERS_H */
