/* nbdkit-vram: nbdkit's callbacks: parameters and requests in, errors out
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/log.h"
#include "common/memlock.h"
#include "disk/blockmap.h"
#include "disk/disk.h"
#include "dump.h"
#include "handover/fdstore.h"
#include "handover/handover.h"
#include "lifecycle.h"
#include "logging.h"
#include "parameters.h"
#include "peer.h"
#include "startup.h"

/* `make install` recognises the project's own file by this string. */
static const char ident[] __attribute__ ((used)) = "@(#) nbdkit-vram plugin";

/* The largest request to recommend to clients.  Larger ones are served, but
 * are no faster, and make nbdkit's threads keep larger buffers.
 */
#define MAXIMUM_BLOCK_SIZE (32 * MiB)

/* Set in after_fork. */
static struct disk *disk;

/* Number of connected clients. */
static atomic_uint clients;

/* Whether this thread has served a request.  initial-exec: no allocation on
 * first use.
 */
static _Thread_local bool thread_ready
    __attribute__ ((tls_model ("initial-exec")));

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
  /* Before nbdkit catches SIGTERM, because a SIGTERM for the parent's death
   * would then count as a request to end the disk.
   */
  return parameters.adopt.wanted ? handover_outlive_parent () : 0;
}

/* Requests run in parallel, on one connection and on many. */
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* Before nbdkit forks. */
static int
vram_get_ready (void)
{
  if (lifecycle_prepare () == -1)
    return -1;
  startup_prepare ();
  return 0;
}

/* In the process that will serve, before the first client. */
static int
vram_after_fork (void)
{
  startup_begin ();
  disk = lifecycle_start ();
  startup_end (disk != NULL);
  return disk ? 0 : -1;
}

/* After the last request. */
static void
vram_cleanup (void)
{
  lifecycle_end ();
}

/* A client is connecting. */
static int
vram_preconnect (int readonly)
{
  (void) readonly;
  return parameters.allow_any || peer_allowed () ? 0 : -1;
}

/* A client has connected.  All clients share one disk. */
static void *
vram_open_handle (int readonly)
{
  (void) readonly;
  atomic_fetch_add (&clients, 1);
  return NBDKIT_HANDLE_NOT_NEEDED;
}

/* A client has disconnected, and its threads have ended. */
static void
vram_close_handle (void *handle)
{
  (void) handle;
  if (atomic_fetch_sub (&clients, 1) == 1)
    memlock_trim_heap ();
  fdstore_disconnected ();
}

/* The size of the disk, which may be less than size=. */
static int64_t
vram_get_size (void *handle)
{
  (void) handle;
  return (int64_t) disk_size (disk);
}

/* Requests of any size are served.  Whole blocks are fastest. */
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

/* GPU and path of copies.  vram-swap reads both. */
static const char *
vram_export_description (void *handle)
{
  char text[LIFECYCLE_TEXT];

  (void) handle;
  lifecycle_describe (text);
  return nbdkit_printf_intern ("%s", text);
}

/* VRAM is not a rotating disk. */
static int
vram_is_rotational (void *handle)
{
  (void) handle;
  return 0;
}

/* Nothing is cached: when a write has been answered, every later request on
 * any connection sees its bytes.
 */
static int
vram_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

/* Native, because a completed write is already in VRAM. */
static int
vram_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

/* Native, because there is nothing to prefetch. */
static int
vram_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

/* Zeroing only clears bits of the block map. */
static int
vram_can_fast_zero (void *handle)
{
  (void) handle;
  return 1;
}

/* Called first in each request.  Returns -1 with errno = EIO if the GPU is
 * lost.  Requests that would not touch the GPU must fail too, so that clients
 * do not rely on data that only seems to be left.
 */
static int
begin_request (void)
{
  if (disk_check (disk) == -1)
    return -1;
  if (!thread_ready) {
    if (parameters.resident != MEMLOCK_NO)
      memlock_touch_stack ();
    memlock_check_thread ();
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
  /* Check again: the machine may have slept, and lost VRAM, before the copy.
   */
  return disk_check (disk);
}

/* Write.  FUA needs no extra work. */
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

/* Completed writes are in VRAM already, unless the GPU is lost. */
static int
vram_flush (void *handle, uint32_t flags)
{
  (void) handle;
  (void) flags;
  return begin_request ();
}

/* Trim: clear bits of the block map. */
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

/* Zero.  Always fast, also without MAY_TRIM: blocks without data read as
 * zeros.
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

/* Report which blocks hold data. */
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

/* Do nothing, see vram_can_cache.  This must not touch the disk: nbdkit may
 * call cleanup while a thread of the readahead filter is still here.
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
