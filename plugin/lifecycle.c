/* nbdkit-vram: starts, adopts and ends the disk
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "debug.h"
#include "disk/blockmap.h"
#include "disk/governor.h"
#include "disk/slots.h"
#include "disk/superblock.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"
#include "handover/fdstore.h"
#include "handover/handover.h"
#include "lifecycle.h"
#include "parameters.h"
#include "peer.h"
#include "startup.h"
#include "watchdog.h"

static struct provider *provider;
static struct slots slots;
static struct disk *disk;

/* For an elastic disk, else NULL and empty. */
static struct governor *governor;
static struct spill *spill;
static char elastic_reason[PROVIDER_REASON]; /* why elastic=yes failed */
static char spill_reason[SPILL_REASON];      /* why spill= failed */

/* Describes the disk to the next server, if the disk can outlive this one. */
static struct superblock superblock = SUPERBLOCK_NONE;

/* Whether the disk was made by an earlier server. */
static bool adopted;

/* Whether this server or an earlier one has handed the disk over. */
static bool handed_over;

/* The server is ending, and the superblock says what becomes of the disk. */
static atomic_bool ending;

int
lifecycle_prepare (void)
{
  return cuda_provider.load (&parameters.copies);
}

/*
 * Choosing a GPU.
 */

/* The GPU of the adopted disk.  Returns NULL after log_error if it is missing,
 * or is not the one that device= names.
 */
static const struct device *
find_gpu_of_disk (const struct devices *gpus)
{
  const uint8_t *uuid = superblock.header->gpu;
  const struct device *gpu = devices_find_uuid (gpus, uuid), *named;
  char text[UUID_TEXT];

  if (gpu == NULL) {
    log_error ("adopt: the disk cannot be taken over: its GPU, %s, is missing",
               device_uuid_text (uuid, text));
    return NULL;
  }
  if (parameters.device == NULL)
    return gpu;
  named = devices_find (gpus, parameters.device);
  if (named && named != gpu) {
    log_error ("adopt: the disk cannot be taken over: it is on %s, but "
               "device=%s is %s",
               gpu->uuid, parameters.device, named->uuid);
    return NULL;
  }
  return named;
}

static int
choose_gpu (struct device *device)
{
  struct devices gpus;
  const struct device *gpu;

  if (cuda_provider.list (parameters.init_wait_ms, &gpus) == -1)
    return -1;
  if (adopted)
    gpu = find_gpu_of_disk (&gpus);
  else if (parameters.device)
    gpu = devices_find (&gpus, parameters.device);
  else
    gpu = devices_most_free (&cuda_provider, &gpus);
  if (gpu)
    *device = *gpu;
  devices_free (&gpus);
  return gpu ? 0 : -1;
}

static int
open_provider (void)
{
  static struct device device;
  struct copy_limits limits;
  bool known = false;
  uint64_t size;

  if (choose_gpu (&device) == -1)
    return -1;
  size = size_estimate (&parameters.size, device.total);
  if (adopted) {
    size = superblock.header->allocated;
    known = atomic_load (&superblock.shared->limits_known) != 0;
    limits.read_max = atomic_load (&superblock.shared->read_max);
    limits.read_max_rested = atomic_load (&superblock.shared->read_max_rested);
    limits.write_max = atomic_load (&superblock.shared->write_max);
  }
  provider = cuda_provider.open (&device, &parameters.copies, size,
                                 known ? &limits : NULL);
  return provider ? 0 : -1;
}

/*
 * VRAM of a new or an adopted disk.
 */

/* How long a request waits for a chunk, or for the disk of the spill file.  If
 * the driver hangs, the watchdog reports that first.
 */
static unsigned
wait_timeout_ms (void)
{
  return 2 * parameters.gpu_timeout_ms;
}

/* Returns 0, 1 after a warning if this GPU cannot have an elastic disk, or -1
 * after log_error.
 */
static int
begin_elastic (uint64_t size, uint64_t min)
{
  int fd;

  if (slots_begin_elastic (&slots, provider, size, min, parameters.headroom,
                           wait_timeout_ms ()) == -1)
    return -1;
  fd = provider->f->export(provider, slots.chunk[0], elastic_reason);
  if (fd != -1) {
    close (fd);
    elastic_reason[0] = '\0';
    return 0;
  }
  /* Such a chunk is of cuMemAlloc, and cuMemFree makes all copies wait. */
  log_warning ("cannot use elastic=yes: %s; VRAM is allocated at the start",
               elastic_reason);
  slots_free (&slots);
  return 1;
}

static int
allocate (void)
{
  static const struct size max = { .kind = SIZE_MAX_FREE };
  const struct device *gpu = &provider->device;
  const enum size_kind kind = parameters.size.kind;
  uint64_t bytes_free, asked, first, most, min;
  int r = 1;

  if (provider->f->free_bytes (provider, &bytes_free) == -1 ||
      size_resolve (&parameters.size, gpu->total, bytes_free,
                    parameters.headroom, &asked) == -1 ||
      size_resolve (&max, gpu->total, bytes_free, parameters.headroom,
                    &most) == -1)
    return -1;

  if (parameters.min_size_set)
    min = ROUND_DOWN (parameters.min_size, BLOCK_SIZE);
  else
    min = asked < MIN_SIZE_DEFAULT && kind != SIZE_MAX_FREE ? asked
                                                            : MIN_SIZE_DEFAULT;
  if (min > gpu->total) {
    log_error ("min-size=%s is more than the %s of VRAM that the GPU has",
               SIZE_STR (min), SIZE_STR (gpu->total));
    return -1;
  }
  if (kind == SIZE_BYTES && min > asked) {
    log_error ("min-size=%s is more than size=%s", SIZE_STR (min),
               SIZE_STR (asked));
    return -1;
  }
  /* size=max and percentages may come to less than min-size.  A percentage is
   * limited to what size=max gives.
   */
  if (asked < min)
    asked = min;
  first = asked;
  if (kind == SIZE_PERCENT && first > most)
    first = most > min ? most : min;

  if (parameters.elastic)
    r = begin_elastic (first, min);
  if (r == 1)
    r = slots_allocate (&slots, provider, first, min, parameters.headroom);
  if (r == -1)
    return -1;
  if (slots.size < asked && kind != SIZE_MAX_FREE)
    log_warning ("VRAM is short: asked for %s of %s, got %s", SIZE_STR (asked),
                 gpu->name, SIZE_STR (slots.size));
  return 0;
}

/* Check size= against the adopted disk: a size in bytes must be what the first
 * server was asked for, or what it got.  A percentage and max depend on free
 * VRAM and are not checked.
 */
static int
check_size (void)
{
  const struct superblock_header *header = superblock.header;
  uint64_t asked = ROUND_DOWN (parameters.size.bytes, BLOCK_SIZE);

  if (parameters.size.kind != SIZE_BYTES || asked == header->asked ||
      asked == header->disk_size)
    return 0;
  log_error ("adopt: the disk cannot be taken over: size=%s differs from the "
             "disk's %s",
             SIZE_STR (asked), SIZE_STR (header->disk_size));
  return -1;
}

static int
open_vram (void)
{
  const struct device *gpu;

  watchdog_enter ();
  if ((adopted && check_size () == -1) || open_provider () == -1)
    return -1;
  gpu = &provider->device;
  if (adopted ? slots_import (&slots, provider, &superblock,
                              parameters.adopt.chunk, wait_timeout_ms ())
              : allocate ())
    return -1;
  if (slots_map (&slots, adopted ? &superblock : NULL) == -1)
    return -1;
  log_debug ("%s %" PRIu64 " bytes of VRAM in %u chunks of %s on device=%d: "
             "%s, %s, %s",
             adopted ? "took over" : "allocated", slots.size, slots.count,
             SIZE_STR (UINT64_C (1) << slots.shift), gpu->index, gpu->name,
             gpu->uuid, gpu->pci);
  /* On an elastic disk the governor goes on mapping chunks. */
  if (slots.elastic == NULL)
    provider->f->settle (provider);
  if (!adopted && slots_zero (&slots) == -1) {
    log_error ("cannot overwrite VRAM");
    return -1;
  }
  if (!adopted && slots.elastic)
    slots_fill_reserve (&slots);
  watchdog_leave ();
  return 0;
}

/*
 * The disk in it.
 */

/* Open the superblock of the disk that adopt= names, if any. */
static int
find_disk (void)
{
  struct adopt *adopt = &parameters.adopt;

  if (!adopt->wanted)
    return 0;
  if (adopt_open (adopt, &superblock) == -1)
    return -1;
  if (atomic_load (&superblock.shared->ended) != 0) {
    log_warning (
        "adopt: the earlier server gave up the disk; starting with a new one");
    handover_revoke (&superblock);
    superblock_close (&superblock);
    adopt_close (adopt);
    return 0;
  }
  if (superblock.slots && !fdstore_exists ()) {
    log_error ("adopt: the disk cannot be taken over: an elastic disk needs a "
               "service manager that keeps descriptors (NOTIFY_SOCKET)");
    return -1;
  }
  adopted = handed_over = true;
  return 0;
}

/* Whether the disk can outlive this process.  Returns -1 after log_error. */
static int
can_hand_over (void)
{
  char reason[PROVIDER_REASON];
  int fd = -1;

  if (parameters.handover == HANDOVER_NO)
    return 0;
  if (!fdstore_exists ())
    snprintf (reason, sizeof reason,
              "no service manager that keeps descriptors (NOTIFY_SOCKET)");
  else
    fd = provider->f->export(
        provider, slots.chunk[slots.elastic ? 0 : slots.count - 1], reason);
  watchdog_leave ();
  if (fd != -1) {
    close (fd);
    return 1;
  }
  if (parameters.handover == HANDOVER_YES) {
    log_error ("handover=yes: %s", reason);
    return -1;
  }
  log_debug ("the disk ends with this server: %s", reason);
  return 0;
}

static int
create_superblock (void)
{
  struct superblock_header header = {
    .disk_size = slots.size,
    .asked = parameters.size.kind == SIZE_BYTES
                 ? ROUND_DOWN (parameters.size.bytes, BLOCK_SIZE)
                 : 0,
    .allocated = slots.allocated,
    .chunk_size = UINT64_C (1) << slots.shift,
    .chunk_count = slots.count,
    .version = slots.elastic ? SUPERBLOCK_VERSION_ELASTIC : SUPERBLOCK_VERSION,
  };

  memcpy (header.gpu, provider->device.uuid_bytes, sizeof header.gpu);
  if (superblock_create (&superblock, &header) == -1)
    return -1;
  if (slots.elastic)
    elastic_move_to (slots.elastic, &superblock);
  return 0;
}

static void
store_text (char *to, size_t size, const char *text)
{
  snprintf (to, size, "%.*s", (int) size - 1, text);
}

/* Store facts for the next server and for programs that show the disk's state.
 */
static void
store_facts (void)
{
  struct superblock_shared *shared = superblock.shared;
  struct provider_path path;

  if (superblock.fd == -1)
    return;
  atomic_store (&shared->elastic, slots.elastic ? ELASTIC_YES : ELASTIC_NO);
  store_text (shared->elastic_reason, sizeof shared->elastic_reason,
              elastic_reason);
  store_text (shared->spill_reason, sizeof shared->spill_reason, spill_reason);
  atomic_store (&shared->quiet, provider->quiet);
  if (provider->limits_known) {
    atomic_store (&shared->read_max, provider->limits.read_max);
    atomic_store (&shared->read_max_rested, provider->limits.read_max_rested);
    atomic_store (&shared->write_max, provider->limits.write_max);
    atomic_store (&shared->limits_known, 1);
  }
  provider->f->describe (provider, &path);
  store_text (shared->copy_reason, sizeof shared->copy_reason, path.reason);
  store_text (shared->gpu_name, sizeof shared->gpu_name,
              provider->device.name);
  store_text (shared->gpu_pci, sizeof shared->gpu_pci, provider->device.pci);
  atomic_store (&shared->copy_path,
                path.path == PATH_MAPPING ? COPY_PATH_MAPPING : COPY_PATH_DMA);
}

/* The disk cannot be handed over.  Returns -1 with handover=yes, otherwise 0
 * after a warning.
 */
static int
keep_to_itself (void)
{
  if (parameters.handover == HANDOVER_YES)
    return -1;
  log_warning ("the disk ends with this server");
  return 0;
}

/* Open the spill file of an elastic disk, if one is configured.  Returns 0,
 * also after a warning if a new file cannot be made, or -1 after log_error.
 */
static int
open_spill (void)
{
  const char *dir = parameters.spill;
  int fd = parameters.adopt.wanted ? parameters.adopt.spill : -1;
  uint64_t ready = 0;

  if (slots.elastic == NULL || (fd == -1 && strcmp (dir, "none") == 0))
    return 0;
  if (fd != -1) {
    ready = atomic_load (&superblock.shared->spill_size);
    parameters.adopt.spill = -1;
  }
  else if (adopted)
    atomic_store (&superblock.shared->spill_size, 0);
  spill = spill_open (dir, fd, slots.allocated, ready, wait_timeout_ms (),
                      spill_reason);
  if (spill == NULL && fd != -1) {
    log_error ("adopt: the disk cannot be taken over: its spill file: %s",
               spill_reason);
    return -1;
  }
  if (spill == NULL) {
    log_warning ("no spill file: %s; data stays in VRAM", spill_reason);
    return 0;
  }
  slots.elastic->spill = spill;
  /* It is handed over before it holds data. */
  if (fd == -1 && adopted &&
      (handover_put_spill (spill_fd (spill)) == -1 ||
       handover_store.check () == -1))
    return -1;
  return 0;
}

/* Make the governor of an elastic disk.  If the disk was adopted, let it fill
 * the reserve.
 */
static int
make_governor (void)
{
  struct governor_options options = {
    .headroom = parameters.headroom,
    .limit = parameters.limit_set ? parameters.limit : UINT64_MAX,
    .scrub = parameters.scrub,
    .restless = vram_debug_restless != 0,
    .store = handed_over ? &handover_store : NULL,
  };

  if (slots.elastic == NULL)
    return 0;
  governor = governor_create (&slots, disk_blockmap (disk), &options);
  if (governor == NULL)
    return -1;
  if (!adopted)
    return 0;
  /* Descriptors of chunks that the earlier server had in reserve or was
   * freeing.
   */
  for (unsigned i = 0; i < slots.count; ++i)
    if (slots.chunk[i] == NULL)
      handover_store.remove (i);
  governor_step (governor);
  return 0;
}

/* Make the disk in VRAM, with the block map of an adopted one or with an empty
 * one.
 */
static int
make_disk (void)
{
  /* An adopted disk has been handed over already. */
  int hand_over = adopted ? 0 : can_hand_over ();

  if (hand_over == -1)
    return -1;
  if (hand_over && create_superblock () == -1) {
    if (keep_to_itself () == -1)
      return -1;
    hand_over = 0;
  }
  if (superblock.fd != -1)
    provider->f->share_sleep (provider, &superblock.shared->slept);
  if (open_spill () == -1)
    return -1;
  store_facts ();
  disk = disk_create (&slots, superblock.bits);
  if (disk == NULL || (adopted && make_governor () == -1) ||
      disk_warm_up (disk) == -1 || memlock_all (parameters.resident) == -1)
    return -1;
  if (hand_over && ((spill && handover_put_spill (spill_fd (spill)) == -1) ||
                    handover_begin (&slots, &superblock) == -1)) {
    if (keep_to_itself () == -1)
      return -1;
    hand_over = 0;
  }
  handed_over = handed_over || hand_over;
  return adopted ? 0 : make_governor ();
}

/* Tell the log and the service manager about the disk. */
static void
report_disk (void)
{
  char status[256];
  uint64_t number;
  int n;

  n = snprintf (status, sizeof status, "serving %s of %s",
                SIZE_STR (slots.size), provider->device.name);
  if (adopted) {
    number = atomic_fetch_add (&superblock.shared->generation, 1) + 1;
    snprintf (status + n, sizeof status - (size_t) n,
              ", server number %" PRIu64 " of this disk", number);
    log_info ("took over a disk of %s, %s of it in use, as its server "
              "number %" PRIu64,
              SIZE_STR (slots.size), SIZE_STR (disk_used (disk)), number);
  }
  fdstore_ready (status);
}

/* The GPU is lost.  Any thread. */
static void
gpu_lost (void *arg)
{
  (void) arg;
  if (superblock.fd != -1)
    atomic_store (&superblock.shared->lost, clock_boottime_ms ());
  disk_fail (disk);
}

/* The watchdog is going to end the process. */
static void
give_up (void)
{
  startup_end (false);
  if (handed_over && !atomic_load (&ending) && handover_may_end (&superblock))
    handover_revoke (&superblock);
}

/* Free the VRAM.  Its data is lost unless KEEP. */
static void
close_disk (bool keep)
{
  const bool zero = disk && !keep && parameters.scrub;
  const bool hangs = governor_free (governor) == -1;

  governor = NULL;
  atomic_store (&ending, true);
  watchdog_forget (gpu_lost, NULL);
  /* The governor hangs in the driver, and uses all of this until the process
   * ends.
   */
  if (hangs) {
    watchdog_stop ();
    return;
  }
  disk_free (disk);
  disk = NULL;
  spill_close (spill);
  spill = NULL;
  watchdog_enter ();
  /* Without a disk, VRAM holds no client's data. */
  if (zero && slots_zero (&slots) == -1)
    log_error ("cannot overwrite VRAM; freeing it with the data in it");
  slots_free (&slots);
  if (provider)
    provider->f->close (provider);
  provider = NULL;
  watchdog_leave ();
  watchdog_stop ();
  superblock_close (&superblock);
}

struct disk *
lifecycle_start (void)
{
  if (memlock_prepare (parameters.resident) == -1 ||
      watchdog_start (parameters.gpu_timeout_ms, give_up) == -1 ||
      find_disk () == -1 || open_vram () == -1 || make_disk () == -1)
    goto err;
  /* If the parent has ended meanwhile, a new disk ends too. */
  if (handed_over && !adopted && handover_outlive_parent () == -1) {
    handover_revoke (&superblock);
    goto err;
  }
  if (adopted && parameters.adopt.gpu == -1 && fdstore_exists ())
    handover_put_gpu (provider->device.pci);
  peer_no_core_dumps ();
  if (superblock.fd != -1)
    atomic_store (&superblock.shared->lost, 0);
  watchdog_on_lost (gpu_lost, NULL);
  if (governor && ((spill && spill_start (spill) == -1) ||
                   governor_start (governor) == -1)) {
    if (handed_over && !adopted)
      handover_revoke (&superblock);
    goto err;
  }
  report_disk ();
  adopt_close (&parameters.adopt);
  return disk;

err:
  close_disk (adopted);
  adopt_close (&parameters.adopt);
  return NULL;
}

/* The server was told to end.  The disk ends with it, unless there is a
 * supervisor that has not asked for that.
 */
void
lifecycle_end (void)
{
  const bool keep = handed_over && !handover_may_end (&superblock);

  if (disk == NULL)
    return;
  if (keep)
    log_warning ("told to end, but not by the supervisor; the disk is left to "
                 "the next server");
  else if (handed_over) {
    /* Otherwise it would go on handing chunks over. */
    governor_stop (governor);
    handover_revoke (&superblock);
  }
  close_disk (keep);
}

void
lifecycle_describe (char text[LIFECYCLE_TEXT])
{
  static const char *const paths[] = {
    [PATH_LOST] = "fail: the GPU is lost",
    [PATH_DMA] = "by DMA alone: ",
    [PATH_MAPPING] = "by window",
  };
  struct provider_path path;
  char number[48] = "";

  provider->f->describe (provider, &path);
  if (handed_over)
    snprintf (number, sizeof number, ", server number %" PRIu64,
              atomic_load (&superblock.shared->generation));
  snprintf (text, LIFECYCLE_TEXT, "VRAM of %s, %s%s, copies %s%s",
            provider->device.name, provider->device.pci, number,
            paths[path.path], path.reason);
}
