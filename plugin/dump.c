/* nbdkit-vram: what --dump-plugin prints
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "disk/spill.h"
#include "disk/superblock.h"
#include "dump.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"
#include "logging.h"
#include "parameters.h"
#include "watchdog.h"

/* The first error, which is printed as vram_error. */
static char error[512];

static void
keep_error (enum log_level level, const char *format, va_list args)
{
  if (level == LOG_LEVEL_ERROR && error[0] == '\0')
    vsnprintf (error, sizeof error, format, args);
  else
    logging_sink (level, format, args);
}

/* Whether the CPU can map enough of this GPU's VRAM. */
static void
dump_window (const struct device *gpu)
{
  uint64_t bytes = size_estimate (&parameters.size, gpu->total);
  char reason[PROVIDER_REASON];

  if (parameters.copies.mapping == MAPPING_NO)
    printf ("vram_window=no\nvram_window_reason=window=no\n");
  else if (cuda_provider.can_map (gpu, bytes, reason) == 0)
    printf ("vram_window=yes\n");
  else {
    printf ("vram_window=no\nvram_window_reason=%s\n", reason);
    if (parameters.copies.mapping == MAPPING_YES)
      log_error ("window=yes: %s", reason);
  }
}

static void
dump_gpu (const struct device *gpu)
{
  uint64_t bytes_free;

  printf ("vram_device_index=%d\n", gpu->index);
  printf ("vram_device_name=%s\n", gpu->name);
  printf ("vram_device_uuid=%s\n", gpu->uuid);
  printf ("vram_device_pci=%s\n", gpu->pci);
  printf ("vram_device_memory_total=%" PRIu64 "\n", gpu->total);
  if (cuda_provider.device_free (gpu, &bytes_free) == 0)
    printf ("vram_device_memory_free=%" PRIu64 "\n", bytes_free);
  dump_window (gpu);
}

/* Whether there can be a spill file of the disk's size. */
static void
dump_spill (const struct device *gpu)
{
  uint64_t bytes = size_estimate (&parameters.size, gpu->total);
  char reason[SPILL_REASON];

  if (!parameters.elastic || strcmp (parameters.spill, "none") == 0)
    return;
  if (spill_check (parameters.spill, bytes, reason) == 0)
    printf ("vram_spill=yes\n");
  else
    printf ("vram_spill=no\nvram_spill_reason=%s\n", reason);
}

/* Log an error if GPU, the one that a server would use, is too small. */
static void
check_size (const struct device *gpu)
{
  const struct parameters *p = &parameters;
  uint64_t bytes;

  if (p->size.kind != SIZE_UNSET &&
      size_resolve (&p->size, gpu->total, gpu->total, p->headroom, &bytes) ==
          -1)
    return;
  if (p->min_size_set && p->min_size > gpu->total)
    log_error ("min-size=%s is more than the %s of VRAM that the GPU has",
               SIZE_STR (p->min_size), SIZE_STR (gpu->total));
}

static void
dump_gpus (struct devices *gpus)
{
  const char *device = parameters.device;
  const struct device *chosen;

  printf ("vram_num_devices=%zu\n", gpus->count);
  chosen = device ? devices_find (gpus, device)
                  : devices_most_free (&cuda_provider, gpus);
  if (chosen) {
    check_size (chosen);
    dump_spill (chosen);
  }
  if (device && chosen)
    dump_gpu (chosen);
  else if (device == NULL)
    for (size_t i = 0; i < gpus->count; ++i)
      dump_gpu (&gpus->gpu[i]);
  devices_free (gpus);
}

static void
print_error (void)
{
  if (error[0])
    printf ("vram_error=%s\n", error);
  fflush (stdout);
}

void
dump_plugin (void)
{
  struct devices gpus;
  bool loaded;

  log_to = keep_error;
  if (parameters.size.kind != SIZE_UNSET)
    parameters_check ();
  printf ("vram_superblock_version=%d\n", SUPERBLOCK_VERSION);
  printf ("vram_superblock_elastic=%d\n", SUPERBLOCK_VERSION_ELASTIC);
  if (parameters.copies.read_max_set)
    printf ("vram_window_read_max=%" PRIu64 "\n", parameters.copies.read_max);
  printf ("vram_boost=%s\n", parameters.copies.boost ? "yes" : "no");
  /* If the driver hangs, the watchdog ends the process. */
  if (watchdog_start (parameters.gpu_timeout_ms, print_error) == 0)
    watchdog_enter ();
  loaded = cuda_provider.load (&parameters.copies) == 0;
  cuda_provider.dump ();
  if (loaded && cuda_provider.list (0, &gpus) == 0)
    dump_gpus (&gpus);
  else
    printf ("vram_num_devices=0\n");
  watchdog_leave ();
  watchdog_stop ();
  print_error ();
}
