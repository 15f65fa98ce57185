/* nbdkit-vram: finds the GPU that device= names
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/units.h"
#include "gpu/devices.h"

/* Domain, bus, device and function of a PCI address. */
struct pci {
  unsigned domain, bus, device, function;
};

const char *
device_uuid_text (const uint8_t uuid[16], char text[UUID_TEXT])
{
  const uint8_t *b = uuid;

  snprintf (text, UUID_TEXT,
            "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
            "%02x%02x%02x%02x%02x%02x",
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
            b[11], b[12], b[13], b[14], b[15]);
  return text;
}

void
devices_free (struct devices *gpus)
{
  free (gpus->gpu);
  gpus->gpu = NULL;
  gpus->count = 0;
}

/* Parse "0000:01:00.0", "00000000:01:00.0" (nvidia-smi's) or "01:00.0". */
static bool
parse_pci (const char *spec, struct pci *pci)
{
  int end = 0;

  pci->domain = 0;
  if (sscanf (spec, "%8x:%2x:%2x.%1u%n", &pci->domain, &pci->bus, &pci->device,
              &pci->function, &end) == 4 &&
      spec[end] == '\0')
    return true;
  pci->domain = 0;
  end = 0;
  return sscanf (spec, "%2x:%2x.%1u%n", &pci->bus, &pci->device,
                 &pci->function, &end) == 3 &&
         spec[end] == '\0';
}

static bool
same_pci (const struct device *gpu, const struct pci *pci)
{
  struct pci own;

  return parse_pci (gpu->pci, &own) && own.domain == pci->domain &&
         own.bus == pci->bus && own.device == pci->device &&
         own.function == pci->function;
}

static bool
same_uuid (const struct device *gpu, const char *spec)
{
  return strcasecmp (gpu->uuid, spec) == 0 ||
         strcasecmp (gpu->uuid + strlen ("GPU-"), spec) == 0;
}

static bool
is_number (const char *spec)
{
  return spec[0] != '\0' && strspn (spec, "0123456789") == strlen (spec);
}

/* How well SPEC names GPU: a better match beats a worse one, so that
 * the name "A100" means that one and not also "A100 80GB".
 */
enum match { MATCH_NOT, MATCH_PART_OF_NAME, MATCH_NAME, MATCH_IDENTITY };

static enum match
match (const struct device *gpu, const char *spec)
{
  struct pci pci;

  if (is_number (spec) && strtoul (spec, NULL, 10) == (unsigned) gpu->index)
    return MATCH_IDENTITY;
  if (same_uuid (gpu, spec))
    return MATCH_IDENTITY;
  if (parse_pci (spec, &pci) && same_pci (gpu, &pci))
    return MATCH_IDENTITY;
  if (strcasecmp (gpu->name, spec) == 0)
    return MATCH_NAME;
  if (!is_number (spec) && spec[0] != '\0' && strcasestr (gpu->name, spec))
    return MATCH_PART_OF_NAME;
  return MATCH_NOT;
}

static void
list_choices (const struct devices *gpus)
{
  for (size_t i = 0; i < gpus->count; ++i)
    log_error ("available: device=%d: %s, %s, %s, %s", gpus->gpu[i].index,
               gpus->gpu[i].name, gpus->gpu[i].uuid, gpus->gpu[i].pci,
               SIZE_STR (gpus->gpu[i].total));
}

const struct device *
devices_find (const struct devices *gpus, const char *spec)
{
  const struct device *found = NULL;
  enum match best = MATCH_NOT, m;
  unsigned times = 0;

  for (size_t i = 0; i < gpus->count; ++i) {
    m = match (&gpus->gpu[i], spec);
    if (m == MATCH_NOT || m < best)
      continue;
    times = m > best ? 1 : times + 1;
    best = m;
    found = &gpus->gpu[i];
  }
  if (times == 1)
    return found;
  if (times > 1)
    log_error ("device=%s matches %u GPUs; name one by its number, UUID or "
               "PCI address",
               spec, times);
  else
    log_error ("device=%s: no such GPU", spec);
  list_choices (gpus);
  return NULL;
}

const struct device *
devices_find_uuid (const struct devices *gpus, const uint8_t uuid[16])
{
  for (size_t i = 0; i < gpus->count; ++i)
    if (memcmp (gpus->gpu[i].uuid_bytes, uuid,
                sizeof gpus->gpu[i].uuid_bytes) == 0)
      return &gpus->gpu[i];
  return NULL;
}

const struct device *
devices_most_free (const struct provider_functions *f,
                   const struct devices *gpus)
{
  const struct device *best = NULL;
  uint64_t most = 0, bytes;

  if (gpus->count == 1)
    return &gpus->gpu[0];
  for (size_t i = 0; i < gpus->count; ++i) {
    if (f->device_free (&gpus->gpu[i], &bytes) == -1)
      continue;
    if (best == NULL || bytes > most) {
      best = &gpus->gpu[i];
      most = bytes;
    }
  }
  return best;
}
