/* nbdkit-vram: the GPUs that CUDA lists
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "gpu/devices.h"
#include "gpu/cuda/device.h"
#include "watchdog.h"

static CUresult
describe (struct device *gpu)
{
  CUdevice handle;
  CUuuid uuid;
  int domain, bus, device;
  size_t total;
  CUresult r;

  r = libcuda.device_get (&handle, gpu->index);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_name (gpu->name, sizeof gpu->name, handle);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_uuid (&uuid, handle);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_total_mem (&total, handle);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_attribute (
        &domain, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, handle);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_attribute (&bus, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID,
                                      handle);
  if (r == CUDA_SUCCESS)
    r = libcuda.device_get_attribute (
        &device, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, handle);
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
    log_error ("the NVIDIA driver lists no GPU; if nvidia-smi shows one, "
               "check whether CUDA_VISIBLE_DEVICES hides it");
    return -1;
  }
  gpus->gpu = calloc ((size_t) count, sizeof *gpus->gpu);
  if (gpus->gpu == NULL) {
    log_error ("calloc: %m");
    return -1;
  }
  for (int i = 0; i < count; ++i) {
    gpu = &gpus->gpu[gpus->count];
    gpu->index = i;
    r = describe (gpu);
    if (r == CUDA_SUCCESS)
      gpus->count++;
    else
      log_warning ("cannot query GPU %d, which is left out: " CUDA_WORDS, i,
                   CUDA_WORDS_ARGS (r));
  }
  if (gpus->count > 0)
    return 0;

err:
  log_error ("cannot list the GPUs: " CUDA_WORDS, CUDA_WORDS_ARGS (r));
  devices_free (gpus);
  return -1;
}

int
device_open (const struct device *gpu, struct cuda *cuda)
{
  CUdevice handle;
  CUresult r;

  watchdog_enter ();
  r = libcuda.device_get (&handle, gpu->index);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot open GPU %d: " CUDA_WORDS, gpu->index,
               CUDA_WORDS_ARGS (r));
    return -1;
  }
  return cuda_open (cuda, handle);
}

int
device_free_bytes (const struct device *gpu, uint64_t *bytes)
{
  struct cuda cuda;
  int r;

  if (device_open (gpu, &cuda) == -1)
    return -1;
  r = cuda_free_bytes (&cuda, bytes);
  cuda_close (&cuda);
  return r;
}
