/* nbdkit-vram: finds the GPU that device= names
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_DEVICES_H
#define VRAM_DEVICES_H

#include "disk/provider.h"

extern void devices_free (struct devices *gpus);

/* Find the GPU that SPEC names: an index, a name or a part of it in upper or
 * lower case, a UUID with or without "GPU-", or a PCI address with or without
 * its domain.  Returns NULL after log_error, which lists the GPUs, if SPEC
 * matches none or several.
 */
extern const struct device *
devices_find (const struct devices *gpus, const char *spec);

/* The GPU with this UUID, or NULL. */
extern const struct device *
devices_find_uuid (const struct devices *gpus, const uint8_t uuid[16]);

/* Find the GPU with the most free VRAM.  If there are several, F tells how
 * much is free.  Returns NULL after log_error.
 */
extern const struct device *
devices_most_free (const struct provider_functions *f,
                   const struct devices *gpus);

/* UUID as nvidia-smi -L prints it, into TEXT, which is returned. */
#define UUID_TEXT sizeof ((struct device *) NULL)->uuid
extern const char *
device_uuid_text (const uint8_t uuid[16], char text[UUID_TEXT]);

#endif /* VRAM_DEVICES_H */
