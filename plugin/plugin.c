/* nbdkit-vram: nbdkit's callbacks: parameters and requests in, errors out
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/clock.h"
#include "common/log.h"
#include "handover/adopt.h"
#include "handover/handover.h"
#include "logging.h"
#include "dump.h"
#include "parameters.h"
#include "disk/blockmap.h"
#include "gpu/cuda/boost.h"
#include "disk/disk.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/libcuda.h"
#include "gpu/vulkan/libvulkan.h"
#include "peer.h"
#include "startup.h"
#include "common/memlock.h"
#include "disk/superblock.h"
#include "handover/fdstore.h"
#include "gpu/vram.h"
#include "watchdog.h"

/* `make install` knows by this string that a file is this project's. */
static const char ident[] __attribute__ ((used)) = "@(#) nbdkit-vram plugin";

/* The largest request that is worth asking for: larger ones only take longer
 * and make nbdkit's threads keep larger buffers.  Still larger ones are served.
 */
#define MAXIMUM_BLOCK_SIZE (32 * MiB)

static struct vram *vram;
static struct disk *disk;

/* What a later server has to know of the disk, where it may outlive this one. */
static struct superblock superblock = SUPERBLOCK_NONE;

/* Whether the disk has been left to a later server, by this one or the one
 * before.
 */
static bool left;

/* How many clients are connected. */
static atomic_uint clients;

/* Whether this thread has served a request.  initial-exec: no allocation on
 * first use.
 */
static _Thread_local bool thread_ready
    __attribute__ ((tls_model ("initial-exec")));

/* The server is ending, and has told the next one what becomes of the disk. */
static atomic_bool ending;

/* The GPU is lost, on any thread. */
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
  if (left && !atomic_load (&ending) && handover_may_end (&superblock))
    handover_revoke (&superblock);
}

/* Give the VRAM back.  The data is gone, unless KEEP. */
static void
close_disk (bool keep)
{
  atomic_store (&ending, true);
  watchdog_forget (gpu_lost, NULL);
  disk_free (disk);
  disk = NULL;
  if (vram && !keep)
    vram_overwrite (vram);
  vram_close (vram, true);
  vram = NULL;
  watchdog_stop ();
  superblock_close (&superblock);
  adopt_close (&parameters.adopt);
}

/* The server ends because it was told to, and so does the disk, if that was who
 * may say so: first of all for those who would take it over.
 */
static void
vram_cleanup (void)
{
  const bool keep = left && !handover_may_end (&superblock);

  if (keep)
    log_warning ("told to end, but not by what keeps the disk, which "
                 "is left to the next server");
  else if (left)
    handover_revoke (&superblock);
  close_disk (keep);
}

/* Before the first parameter. */
static void
vram_load (void)
{
  logging_load ();
  peer_load ();
  handover_load ();
}

/* One parameter of the command line. */
static int
vram_config (const char *key, const char *value)
{
  return parameters_parse (key, value);
}

/* After the last parameter. */
static int
vram_config_complete (void)
{
  if (parameters_check () == -1)
    return -1;
  /* Not later: a signal that is caught would be taken for one that ends it. */
  return parameters.adopt.wanted ? handover_outlive_parent () : 0;
}

/* Requests run in parallel, on one connection and on many. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* Before nbdkit forks: find the driver, but do not start it. */
static int
vram_get_ready (void)
{
  if (libcuda_load () == -1) {
    log_error ("%s", libcuda_load_error ());
    return -1;
  }
  if (parameters.vram.window != VRAM_MAPPING_NO)
    libvulkan_prepare ();
  startup_prepare ();
  return 0;
}

/* Look at the disk that is to be taken over. */
static int
find_disk (void)
{
  if (!parameters.adopt.wanted)
    return 0;
  if (adopt_open (&parameters.adopt, &superblock) == -1)
    return -1;
  if (atomic_load (&superblock.shared->ended) != 0) {
    log_warning ("adopt: the server before this one had given the "
                 "disk up; starting with a new one");
    handover_revoke (&superblock);
    superblock_close (&superblock);
    adopt_close (&parameters.adopt);
    return 0;
  }
  parameters.vram.adopt = &parameters.adopt;
  parameters.vram.superblock = &superblock;
  return 0;
}

/* Whether the disk is to outlive this process.  Returns -1 after log_error.
 */
static int
may_leave (void)
{
  const char *reason = NULL;

  if (parameters.store == HANDOVER_NO)
    return 0;
  if (!fdstore_exists ())
    reason = "there is no service manager that keeps descriptors "
             "(NOTIFY_SOCKET)";
  else if (vram_chunks (vram)->count == 0)
    reason = "the driver has no memory that servers can pass on";
  if (reason == NULL)
    return 1;
  if (parameters.store == HANDOVER_YES) {
    log_error ("store=yes: %s", reason);
    return -1;
  }
  log_debug ("the disk ends with this server: %s", reason);
  return 0;
}

/* In VRAM: the disk as it was, or a new one. */
static int
make_disk (bool leave)
{
  struct superblock_header header;

  if (leave) {
    vram_describe (vram, &header);
    if (superblock_create (&superblock, &header) == -1)
      return -1;
    vram_save_limits (vram, &superblock);
  }
  if (superblock.fd != -1)
    atomic_store (&superblock.shared->quiet, boost_state ());
  disk = disk_create (vram, superblock.bits);
  if (disk == NULL || disk_warm_up (disk) == -1 ||
      memlock_all (parameters.resident) == -1)
    return -1;
  if (leave && handover_begin (vram_chunks (vram), &superblock) == -1) {
    if (parameters.store == HANDOVER_YES)
      return -1;
    log_warning ("the disk ends with this server");
    leave = false;
  }
  left = left || leave;
  return 0;
}

/* What the log and the service manager are told of the disk. */
static void
tell_disk (bool adopted)
{
  char status[256];
  uint64_t number;
  int n;

  n = snprintf (status, sizeof status, "serving %s of %s",
                SIZE_STR (vram_size (vram)), vram_gpu (vram)->name);
  if (adopted) {
    number = atomic_fetch_add (&superblock.shared->generation, 1) + 1;
    snprintf (status + n, sizeof status - (size_t) n,
              ", server number %" PRIu64 " of this disk", number);
    log_info ("took over a disk of %s, %s of it in use, as its server "
              "number %" PRIu64,
              SIZE_STR (vram_size (vram)), SIZE_STR (disk_used (disk)),
              number);
  }
  fdstore_ready (status);
}

/* Open the disk.  Returns 0, or -1 after log_error. */
static int
start_disk (void)
{
  bool adopted;
  int leave;

  if (memlock_prepare (parameters.resident) == -1 ||
      watchdog_start (parameters.vram.gpu_timeout_ms, give_up) == -1 ||
      find_disk () == -1)
    goto err;
  adopted = left = parameters.vram.superblock != NULL;
  vram = vram_open (&parameters.vram);
  if (vram == NULL)
    goto err;
  /* A disk that was taken over is left already. */
  leave = adopted ? 0 : may_leave ();
  if (leave == -1 || make_disk (leave) == -1)
    goto err;
  adopt_close (&parameters.adopt);
  /* A disk that is new: if the parent has ended, so does this. */
  if (left && !adopted && handover_outlive_parent () == -1) {
    handover_revoke (&superblock);
    goto err;
  }
  peer_no_core_dumps ();
  if (superblock.fd != -1)
    atomic_store (&superblock.shared->lost, 0);
  watchdog_on_lost (gpu_lost, NULL);
  tell_disk (adopted);
  return 0;

err:
  close_disk (parameters.vram.superblock != NULL);
  return -1;
}

/* In the process that will serve, before the first client. */
static int
vram_after_fork (void)
{
  int r;

  startup_begin ();
  r = start_disk ();
  startup_end (r == 0);
  return r;
}

/* A client is connecting. */
static int
vram_preconnect (int readonly)
{
  (void) readonly;
  return parameters.allow_any || peer_allowed () ? 0 : -1;
}

/* A client has connected.  All clients share the one disk. */
static void *
vram_open_handle (int readonly)
{
  (void) readonly;
  atomic_fetch_add (&clients, 1);
  return NBDKIT_HANDLE_NOT_NEEDED;
}

/* A client has gone, and so have the threads that served it. */
static void
vram_close_handle (void *handle)
{
  (void) handle;
  if (atomic_fetch_sub (&clients, 1) == 1)
    memlock_trim_heap ();
}

/* The size that was got, which may be less than was asked for. */
static int64_t
vram_get_size (void *handle)
{
  (void) handle;
  return (int64_t) vram_size (vram);
}

/* Any request is served; whole blocks are served best. */
static int
vram_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                 uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = BLOCK_SIZE;
  *maximum = MAXIMUM_BLOCK_SIZE;
  return 0;
}

/* Which GPU a client got, which of the disk's servers this is where there may be
 * more, and how copies go at this moment; vram-swap status looks for both.
 */
static const char *
vram_export_description (void *handle)
{
  char way[VRAM_WAY], number[48] = "";

  (void) handle;
  vram_say_way (vram, way);
  if (superblock.fd != -1)
    snprintf (number, sizeof number, ", server number %" PRIu64,
              atomic_load (&superblock.shared->generation));
  return nbdkit_printf_intern ("VRAM of %s, %s%s, copies %s",
                               vram_gpu (vram)->name, vram_gpu (vram)->pci,
                               number, way);
}

/* VRAM does not turn. */
static int
vram_is_rotational (void *handle)
{
  (void) handle;
  return 0;
}

/* A reply promises that every later request, on any connection, sees the
 * bytes; nothing is cached.
 */
static int
vram_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

/* A completed write is in VRAM, and VRAM is as durable as it gets. */
static int
vram_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

/* There is nothing to load ahead. */
static int
vram_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

/* Zeroing forgets blocks and moves nothing. */
static int
vram_can_fast_zero (void *handle)
{
  (void) handle;
  return 1;
}

/* Before anything else in each request.  Returns -1 with errno = EIO when the
 * GPU is lost: also requests that would not touch it must fail then, so that
 * nobody takes the disk for one that still has some of its data.
 */
static int
begin_request (void)
{
  if (vram_is_lost (vram)) {
    errno = EIO;
    return -1;
  }
  if (vram_check (vram) == -1)
    return -1;
  if (!thread_ready) {
    if (parameters.resident != MEMLOCK_NO) {
      memlock_touch_stack ();
      memlock_check_thread ();
    }
    thread_ready = true;
  }
  return 0;
}

/* Read. */
static int
vram_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
            uint32_t flags)
{
  (void) handle;
  (void) flags;
  if (begin_request () == -1 || disk_read (disk, buf, count, offset) == -1)
    return -1;
  /* The machine may have slept, and VRAM been lost, before it was read. */
  return vram_check (vram);
}

/* Write.  FUA needs nothing more. */
static int
vram_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
             uint32_t flags)
{
  (void) handle;
  (void) flags;
  if (begin_request () == -1)
    return -1;
  return disk_write (disk, buf, count, offset);
}

/* Completed writes are where they belong already, unless all are gone. */
static int
vram_flush (void *handle, uint32_t flags)
{
  (void) handle;
  (void) flags;
  return begin_request ();
}

/* Forget blocks. */
static int
vram_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void) handle;
  (void) flags;
  if (begin_request () == -1)
    return -1;
  disk_trim (disk, count, offset);
  return 0;
}

/* Zero, always fast, whether or not the client lets it trim: a block that is
 * forgotten reads as zeros, and its place in VRAM stays reserved.
 */
static int
vram_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void) handle;
  (void) flags;
  if (begin_request () == -1)
    return -1;
  return disk_zero (disk, count, offset);
}

/* Which blocks hold data. */
static int
vram_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
              struct nbdkit_extents *extents)
{
  const uint64_t end = offset + count;
  uint64_t n;
  bool hole;

  (void) handle;
  if (begin_request () == -1)
    return -1;
  for (; offset < end; offset += n) {
    n = disk_extent (disk, offset, end, &hole);
    if (nbdkit_add_extent (extents, offset, n,
                           hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO
                                : 0) == -1)
      return -1;
    if (flags & NBDKIT_FLAG_REQ_ONE)
      break;
  }
  return 0;
}

/* Nothing to do, see vram_can_cache.  Not even a look at the disk: nbdkit's
 * readahead filter has a thread of its own, which nbdkit does not always wait
 * for before it calls cleanup.
 */
static int
vram_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void) handle;
  (void) count;
  (void) offset;
  (void) flags;
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = PLUGIN_NAME,
  .longname = "nbdkit VRAM plugin",
  .version = PACKAGE_VERSION,
  .description = "Serves the video memory of an NVIDIA GPU",
  .magic_config_key = "size",
  .load = vram_load,
  .config = vram_config,
  .config_complete = vram_config_complete,
  .config_help = parameters_help,
  .dump_plugin = dump_plugin,
  .get_ready = vram_get_ready,
  .after_fork = vram_after_fork,
  .cleanup = vram_cleanup,
  .preconnect = vram_preconnect,
  .open = vram_open_handle,
  .close = vram_close_handle,
  .get_size = vram_get_size,
  .block_size = vram_block_size,
  .export_description = vram_export_description,
  .is_rotational = vram_is_rotational,
  .can_multi_conn = vram_can_multi_conn,
  .can_fua = vram_can_fua,
  .can_cache = vram_can_cache,
  .can_fast_zero = vram_can_fast_zero,
  .pread = vram_pread,
  .pwrite = vram_pwrite,
  .flush = vram_flush,
  .trim = vram_trim,
  .zero = vram_zero,
  .extents = vram_extents,
  .cache = vram_cache,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
