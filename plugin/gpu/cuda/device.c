/* nbdkit-vram: which GPUs there are, and which one is meant
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "gpu/cuda/context.h"
#include "gpu/cuda/device.h"
#include "common/units.h"
#include "watchdog.h"

/* Domain, bus, device and function of a PCI address. */
struct pci {
  unsigned domain, bus, device, function;
};

const char *
device_uuid_text (const uint8_t uuid[16], char text[DEVICE_UUID_TEXT])
{
  const uint8_t *b = uuid;

  snprintf (text, DEVICE_UUID_TEXT,
            "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
            "%02x%02x%02x%02x%02x%02x",
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
            b[11], b[12], b[13], b[14], b[15]);
  return text;
}

static CUresult
describe (struct device *gpu)
{
  CUuuid uuid;
  int domain, bus, device;
  size_t total;
  CUresult r;

  r = libcuda.device_get (&gpu->device, gpu->index);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_name (gpu->name, sizeof gpu->name, gpu->device);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_uuid (&uuid, gpu->device);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_total_mem (&total, gpu->device);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_attribute (
        &domain, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, gpu->device);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_attribute (&bus, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID,
                                      gpu->device);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_attribute (
        &device, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, gpu->device);
  if (r != CUDA_SUCCESS)
    return r;

  gpu->total = total;
  memcpy (gpu->uuid_bytes, uuid.bytes, sizeof gpu->uuid_bytes);
  device_uuid_text (gpu->uuid_bytes, gpu->uuid);
  /* A GPU is always function 0 of its device. */
  snprintf (gpu->pci, sizeof gpu->pci, "%04x:%02x:%02x.0", domain & 0xffff,
            bus & 0xff, device & 0x1f);
  return CUDA_SUCCESS;
}

static char list_error[256];

const char *
devices_list_error (void)
{
  return list_error;
}

int
devices_list (struct devices *gpus)
{
  struct device *gpu;
  int count;
  CUresult r;

  gpus->count = 0;
  gpus->gpu = NULL;
  r = libcuda.device_get_count (&count);
  if (r != CUDA_SUCCESS)
    goto err;
  if (count < 1) {
    snprintf (list_error, sizeof list_error,
              "the NVIDIA driver lists no GPU; if nvidia-smi shows one, "
              "look whether CUDA_VISIBLE_DEVICES hides it");
    goto out;
  }
  gpus->gpu = calloc ((size_t) count, sizeof *gpus->gpu);
  if (gpus->gpu == NULL) {
    snprintf (list_error, sizeof list_error, "calloc: %m");
    goto out;
  }
  for (int i = 0; i < count; ++i) {
    gpu = &gpus->gpu[gpus->count];
    gpu->index = i;
    r = describe (gpu);
    if (r == CUDA_SUCCESS)
      gpus->count++;
    else
      log_warning ("GPU %d does not say what it is and is left "
                   "out: " CUDA_WORDS,
                   i, CUDA_WORDS_ARGS (r));
  }
  if (gpus->count > 0)
    return 0;

err:
  snprintf (list_error, sizeof list_error, "cannot list the GPUs: " CUDA_WORDS,
            CUDA_WORDS_ARGS (r));
out:
  log_error ("%s", list_error);
  devices_free (gpus);
  return -1;
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

/* How well SPEC names GPU: a better way of naming beats a worse one, so that
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
    log_error ("there is: device=%d: %s, %s, %s, %s", gpus->gpu[i].index,
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
    log_error ("device=%s means %u GPUs; name one by its number, UUID or "
               "PCI address",
               spec, times);
  else
    log_error ("device=%s is no GPU of this machine", spec);
  list_choices (gpus);
  return NULL;
}

int
device_free_bytes (const struct device *gpu, uint64_t *bytes)
{
  struct cuda cuda;
  int r;

  watchdog_enter ();
  if (cuda_open (&cuda, gpu->device) == -1)
    return -1;
  r = cuda_free_bytes (&cuda, bytes);
  cuda_close (&cuda);
  return r;
}

const struct device *
devices_most_free (const struct devices *gpus)
{
  const struct device *best = NULL;
  uint64_t most = 0, bytes;

  if (gpus->count == 1)
    return &gpus->gpu[0];
  for (size_t i = 0; i < gpus->count; ++i) {
    if (device_free_bytes (&gpus->gpu[i], &bytes) == -1)
      continue;
    if (best == NULL || bytes > most) {
      best = &gpus->gpu[i];
      most = bytes;
    }
  }
  return best;
}
