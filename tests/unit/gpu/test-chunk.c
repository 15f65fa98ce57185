/* nbdkit-vram: tests of chunks: allocation, export and import by CUDA
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "common/units.h"
#include "disk/provider.h"
#include "gpu/cuda/chunk.h"
#include "gpu/cuda/provider.h"
#include "gpu/driver.h"
#include "nbdkit-stubs.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

/* The driver's functions that make a chunk. */
static const char *const functions[] = {
  "cuMemCreate",
  "cuMemAddressReserve",
  "cuMemMap",
  "cuMemSetAccess",
};

static struct cuda cuda;
static struct cuda_chunk chunk;
static const char *what;

static void
begin (void)
{
  driver_begin ();
  stub_messages_clear ();
  memset (&cuda, 0, sizeof cuda);
  memset (&chunk, 0, sizeof chunk);
  CHECK_EQ (cuda_open (&cuda, 0), 0);
}

static void
end (void)
{
  cuda_close (&cuda);
  driver_check_freed ();
}

static void
test_granularity (void)
{
  begin ();
  CHECK_EQ (chunk_granularity (&cuda), 2 * MiB);
  driver->fail ("cuMemGetAllocationGranularity", 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (chunk_granularity (&cuda), 0);
  libcuda.mem_export = NULL;
  CHECK_EQ (chunk_granularity (&cuda), 0);
  CHECK_HOLDS (stub_debugs (), "no virtual memory management");
  end ();
}

static void
test_large_granularity (void)
{
  driver_set ("GRANULARITY", "32M");
  begin ();
  CHECK_EQ (chunk_granularity (&cuda), 32 * MiB);
  CHECK_EQ (chunk_allocate (&cuda, &chunk, 64 * MiB, true, &what), 0);
  chunk_free (&cuda, &chunk);
  end ();
}

static void
test_no_vmm (void)
{
  driver_set ("NO_VMM", "1");
  begin ();
  CHECK_EQ (chunk_granularity (&cuda), 0);
  end ();
}

/* Each call that makes a chunk of any kind fails once, and nothing leaks. */
static void
test_allocate (void)
{
  begin ();
  CHECK_EQ (chunk_allocate (&cuda, &chunk, 64 * MiB, true, &what), 0);
  CHECK (chunk.exportable);
  CHECK_EQ (chunk.chunk.size, 64 * MiB);
  CHECK_EQ (driver_used (), 64 * MiB);
  chunk_free (&cuda, &chunk);
  end ();

  begin ();
  CHECK_EQ (chunk_allocate (&cuda, &chunk, 64 * MiB, false, &what), 0);
  CHECK (!chunk.exportable);
  CHECK_EQ (driver_used (), 64 * MiB);
  chunk_free (&cuda, &chunk);
  end ();

  for (size_t f = 0; f < COUNT (functions); ++f) {
    begin ();
    driver->fail (functions[f], 1, CUDA_ERROR_UNKNOWN);
    CHECK_EQ (chunk_allocate (&cuda, &chunk, 64 * MiB, true, &what),
              CUDA_ERROR_UNKNOWN);
    CHECK_EQ (chunk.chunk.size, 0);
    end ();
  }
}

static void
test_export (void)
{
  int fd, again;

  begin ();
  CHECK_EQ (chunk_allocate (&cuda, &chunk, 2 * MiB, true, &what), 0);
  CHECK_EQ (chunk_export (&chunk, &fd), CUDA_SUCCESS);
  CHECK (fcntl (fd, F_GETFD) & FD_CLOEXEC);
  driver->fail ("cuMemExportToShareableHandle", 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (chunk_export (&chunk, &again), CUDA_ERROR_UNKNOWN);
  chunk_free (&cuda, &chunk);

  memset (&chunk, 0, sizeof chunk);
  driver->fail ("cuMemImportFromShareableHandle", 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (chunk_import (&cuda, &chunk, fd, 2 * MiB, &what),
            CUDA_ERROR_UNKNOWN);
  CHECK (fcntl (fd, F_GETFD) != -1);
  CHECK_EQ (chunk_import (&cuda, &chunk, fd, 2 * MiB, &what), CUDA_SUCCESS);
  /* The driver is not asked to export what it has imported. */
  driver->fail ("cuMemExportToShareableHandle", 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (chunk_export (&chunk, &again), CUDA_SUCCESS);
  CHECK (again != fd && fcntl (again, F_GETFD) & FD_CLOEXEC);
  close (again);
  chunk_free (&cuda, &chunk);
  CHECK_EQ (fcntl (fd, F_GETFD), -1);
  end ();
}

/* After the context is lost the driver is not called. */
static void
test_lost (void)
{
  unsigned calls;

  begin ();
  CHECK_EQ (chunk_allocate (&cuda, &chunk, 2 * MiB, true, &what), 0);
  cuda_set_lost (&cuda, "a test");
  calls = driver->calls (NULL);
  chunk_free (&cuda, &chunk);
  CHECK_EQ (driver->calls (NULL), calls);
}

/* If a driver refuses what its attributes promise, the provider warns once and
 * goes on with VRAM that cannot be exported.  It does not do so when VRAM is
 * short.
 */
static void
test_promises (void)
{
  static const struct device device = { .name = "GPU", .total = 8 * GiB };
  static const struct provider_options options = {
    .queues = 1,
    .staging = 8 * KiB,
    .mapping = MAPPING_NO,
  };
  char reason[PROVIDER_REASON];
  struct chunk *chunks[2];
  struct provider *p;

  for (size_t f = 0; f < COUNT (functions); ++f)
    for (int code = 0; code < 2; ++code) {
      bool is_short =
          code == 1 && strcmp (functions[f], "cuMemAddressReserve") != 0;

      begin ();
      p = cuda_provider.open (&device, &options, GiB, NULL);
      CHECK (p != NULL);
      driver->fail (functions[f], 1,
                    code ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_UNKNOWN);
      CHECK_EQ (p->f->allocate (p, 2 * MiB, &chunks[0], reason), is_short);
      CHECK_EQ (stub_errors_count (), !is_short);
      if (!is_short) {
        CHECK_HOLDS (stub_errors (),
                     "warning: this driver refuses exportable");
        CHECK_EQ (p->f->allocate (p, 2 * MiB, &chunks[1], reason), 0);
        CHECK_EQ (stub_errors_count (), 1);
        CHECK_EQ (p->f->export(p, chunks[1], reason), -1);
        CHECK_STR (reason, "this driver cannot export VRAM");
        p->f->free (p, chunks[0]);
        p->f->free (p, chunks[1]);
      }
      p->f->close (p);
      end ();
    }
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN_ALONE (test_granularity);
  RUN_ALONE (test_large_granularity);
  RUN_ALONE (test_no_vmm);
  RUN_ALONE (test_allocate);
  RUN_ALONE (test_export);
  RUN_ALONE (test_promises);
  RUN_ALONE (test_lost);
  return check_end ();
}
