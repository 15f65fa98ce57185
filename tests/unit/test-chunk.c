/* nbdkit-vram: tests of how VRAM is allocated: in chunks, less when it is short, and given back
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "gpu/cuda/chunk.h"
#include "fake-cuda.h"
#include "nbdkit-stubs.h"
#include "common/units.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

static struct cuda cuda;
static struct chunks chunks;

static void
begin (uint64_t bytes_free)
{
  fake_begin ();
  stub_messages_clear ();
  fake.gpu[0].total = 64 * GiB;
  fake.gpu[0].used_by_others = 64 * GiB - bytes_free;
  memset (&cuda, 0, sizeof cuda);
  CHECK_EQ (cuda_open (&cuda, 0), 0);
}

static void
end (void)
{
  chunks_free (&chunks);
  cuda_close (&cuda);
  fake_check_freed ();
  stub_messages_clear ();
}

/* One behind the other, without gaps, all but the last of one size. */
static void
check_layout (uint64_t size)
{
  uint64_t at = 0;

  CHECK_EQ (chunks.size, size);
  CHECK (chunks.mapped && chunks.base == FAKE_BASE);
  CHECK (chunks.count >= 1 && chunks.count <= CHUNKS_MAX);
  for (size_t i = 0; i < chunks.count; ++i) {
    CHECK_EQ (chunks.chunk[i].offset, at);
    CHECK_EQ (chunks.chunk[i].size % (2 * MiB), 0);
    if (i + 1 < chunks.count)
      CHECK_EQ (chunks.chunk[i].size, chunks.chunk_size);
    else
      CHECK (chunks.chunk[i].size <= chunks.chunk_size);
    at += chunks.chunk[i].size;
  }
  CHECK_EQ (at, ROUND_UP (size, fake.granularity));
  CHECK_EQ (at, chunks.allocated);
  CHECK_EQ (fake.vram_used, at);
  CHECK_EQ (atomic_load (&fake.mappings), chunks.count);
}

static void
test_sizes (void)
{
  static const struct {
    uint64_t size;
    size_t count;
    uint64_t last;
  } table[] = {
    { 4 * KiB, 1, 2 * MiB },
    { 2 * MiB - 4 * KiB, 1, 2 * MiB },
    { 2 * MiB, 1, 2 * MiB },
    { 2 * MiB + 4 * KiB, 1, 4 * MiB },
    { 64 * MiB, 1, 64 * MiB },
    { 64 * MiB + 4 * KiB, 2, 2 * MiB },
    { 200 * MiB, 4, 8 * MiB },
    { 8 * GiB - 4 * KiB, 128, 64 * MiB },
    { 8 * GiB, 128, 64 * MiB },
    { 8 * GiB + 4 * KiB, 65, 2 * MiB },
    { 60 * GiB + 4 * KiB, 121, 2 * MiB },
  };

  for (size_t i = 0; i < COUNT (table); ++i) {
    begin (64 * GiB);
    CHECK_EQ (
        chunks_allocate (&chunks, &cuda, table[i].size, table[i].size, 0), 0);
    check_layout (table[i].size);
    CHECK_EQ (chunks.count, table[i].count);
    CHECK_EQ (chunks.chunk[chunks.count - 1].size, table[i].last);
    CHECK_EQ (stub_errors_count (), 0);
    end ();
  }
}

/* What is got of SIZE when so much is free: in steps of 512 MiB, not below the
 * minimum, with the headroom left.
 */
static void
test_back_off (void)
{
  static const struct {
    uint64_t size, min, headroom, bytes_free, got; /* got 0: refused */
  } table[] = {
    { 5 * GiB, GiB, 0, 5 * GiB, 5 * GiB },
    { 5 * GiB, GiB, 0, 5 * GiB - 1, 4608 * MiB },
    { 5 * GiB, GiB, 0, 4608 * MiB - 1, 4 * GiB },
    { 5 * GiB, GiB, 0, GiB, GiB },
    { 5 * GiB, GiB, 0, GiB - 1, 0 },
    { 5 * GiB, 5 * GiB, 0, 5 * GiB - 1, 0 },
    { 5 * GiB, 4 * KiB, 0, 2 * MiB, 4 * KiB },
    { 5 * GiB, 4 * KiB, 0, 2 * MiB - 1, 0 },
    /* The last step is to the minimum, wherever that is. */
    { 1200 * MiB, 700 * MiB, 0, 690 * MiB, 0 },
    { 1200 * MiB, 600 * MiB, 0, 650 * MiB, 600 * MiB },
    { 1200 * MiB, 600 * MiB, 0, 690 * MiB, 688 * MiB },
    /* Not multiples of anything but 4 KiB. */
    { 3 * GiB + 12 * KiB, 8 * KiB, 0, 2 * GiB + 2 * MiB, 2 * GiB + 12 * KiB },
    { 3 * GiB + 12 * KiB, 8 * KiB, 0, 2 * GiB + MiB, 1536 * MiB + 12 * KiB },
    /* Headroom. */
    { 5 * GiB, GiB, GiB, 6 * GiB, 5 * GiB },
    { 5 * GiB, GiB, GiB, 6 * GiB - 1, 4608 * MiB },
    { 5 * GiB, GiB, GiB, 2 * GiB, GiB },
    { 5 * GiB, GiB, GiB, 2 * GiB - 1, 0 },
    { 5 * GiB, GiB, 60 * GiB, 5 * GiB, 0 },
  };

  for (unsigned plain = 0; plain <= 1; ++plain)
    for (size_t i = 0; i < COUNT (table); ++i) {
      int r;

      begin (table[i].bytes_free);
      fake.no_vmm = plain;
      r = chunks_allocate (&chunks, &cuda, table[i].size, table[i].min,
                           table[i].headroom);
      if ((r == 0 ? chunks.size : 0) != table[i].got)
        check_fail (__FILE__, __LINE__, "row %zu: got %" PRIu64, i,
                    r == 0 ? chunks.size : 0);
      if (r == -1) {
        CHECK_EQ (stub_errors_count (), 1);
        CHECK_HOLDS (stub_errors (), "VRAM is short");
        CHECK_HOLDS (stub_errors (), SIZE_STR (table[i].min));
        CHECK_HOLDS (stub_errors (), SIZE_STR (table[i].bytes_free));
        /* Nothing is left, before it is freed. */
        cuda_close (&cuda);
        fake_check_freed ();
        CHECK_EQ (cuda_open (&cuda, 0), 0);
      }
      else {
        CHECK_EQ (stub_errors_count (), 0);
        if (!plain)
          check_layout (table[i].got);
        CHECK_EQ (fake.vram_used, chunks.allocated);
      }
      end ();
    }
}

/* Each call fails once, with VRAM that is short or otherwise: the one means
 * less, the other a refusal, and nothing leaks.
 */
static void
test_failures (void)
{
  static const enum fake_function functions[] = {
    FN_mem_address_reserve, FN_mem_create,   FN_mem_map,
    FN_mem_set_access,      FN_mem_get_info, FN_mem_alloc,
  };

  for (unsigned plain = 0; plain <= 1; ++plain)
    for (size_t f = 0; f < COUNT (functions); ++f)
      for (int nth = 1; nth <= 20; ++nth)
        for (int shortage = 0; shortage <= 1; ++shortage) {
          int r;

          begin (8 * GiB);
          fake.no_vmm = plain;
          fake_fail (functions[f], nth,
                     shortage ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_UNKNOWN);
          r = chunks_allocate (&chunks, &cuda, GiB, 512 * MiB, GiB);
          if (atomic_load (&fake.fail[functions[f]].nth) > 0) {
            CHECK_EQ (r, 0);
            CHECK_EQ (chunks.size, GiB);
          }
          else if (shortage && functions[f] != FN_mem_address_reserve &&
                   functions[f] != FN_mem_get_info) {
            CHECK_EQ (r, 0);
            CHECK_EQ (chunks.size, 512 * MiB);
            if (!plain)
              check_layout (512 * MiB);
          }
          else {
            CHECK_EQ (r, -1);
            CHECK_EQ (stub_errors_count (), 1);
            CHECK_EQ (fake.vram_used, 0);
          }
          for (int i = 0; i < FN_COUNT; ++i)
            atomic_store (&fake.fail[i].nth, 0);
          end ();
        }
}

/* Others take VRAM between the question how much is free and the allocation. */
static void
test_taken_meanwhile (void)
{
  begin (8 * GiB);
  fake_fail (FN_mem_create, 100, CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ (chunks_allocate (&chunks, &cuda, 8 * GiB, GiB, 0), 0);
  check_layout (7680 * MiB);
  end ();
}

/* A GPU that allocates in larger units than 2 MiB. */
static void
test_granularity (void)
{
  begin (8 * GiB);
  fake.granularity = 32 * MiB;
  CHECK_EQ (chunks_allocate (&chunks, &cuda, 100 * MiB, 100 * MiB, 0), 0);
  CHECK_EQ (chunks.size, 100 * MiB);
  CHECK_EQ (chunks.allocated, 128 * MiB);
  CHECK_EQ (chunks.count, 2);
  CHECK_EQ (chunks.chunk[1].size, 64 * MiB);
  end ();
}

/* No virtual memory management, or none that can be exported. */
static void
test_plain (void)
{
  begin (8 * GiB);
  fake.no_vmm = true;
  CHECK_EQ (chunks_allocate (&chunks, &cuda, 4 * KiB, 4 * KiB, 0), 0);
  CHECK (!chunks.mapped);
  CHECK_EQ (chunks.count, 0);
  CHECK_EQ (chunks.size, 4 * KiB);
  CHECK_EQ (chunks.allocated, 2 * MiB);
  CHECK_HOLDS (stub_debugs (), "one allocation instead of chunks");
  end ();

  begin (8 * GiB);
  libcuda.mem_export = NULL;
  CHECK_EQ (chunks_allocate (&chunks, &cuda, GiB, GiB, 0), 0);
  CHECK (!chunks.mapped);
  end ();

  begin (8 * GiB);
  fake_fail (FN_mem_get_allocation_granularity, 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (chunks_allocate (&chunks, &cuda, GiB, GiB, 0), 0);
  CHECK (!chunks.mapped);
  end ();
}

/* After the context is lost the driver is not called, and it may be freed
 * twice, or without having been allocated.
 */
static void
test_free (void)
{
  unsigned calls;

  begin (8 * GiB);
  CHECK_EQ (chunks_allocate (&chunks, &cuda, GiB, GiB, 0), 0);
  cuda_set_lost (&cuda, "a test");
  calls = fake_calls ();
  chunks_free (&chunks);
  chunks_free (&chunks);
  CHECK_EQ (fake_calls (), calls);
  CHECK_EQ (atomic_load (&fake.handles), 16);
}

static void
test_export (void)
{
  CUresult error;
  int fd;

  begin (8 * GiB);
  CHECK_EQ (chunks_allocate (&chunks, &cuda, 200 * MiB, 200 * MiB, 0), 0);
  fd = chunk_export (&chunks, 3, &error);
  CHECK (fd >= 0);
  CHECK_EQ (error, CUDA_SUCCESS);
  CHECK (fcntl (fd, F_GETFD) & FD_CLOEXEC);
  close (fd);
  fake_fail (FN_mem_export, 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (chunk_export (&chunks, 0, &error), -1);
  CHECK_EQ (error, CUDA_ERROR_UNKNOWN);
  end ();
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_sizes);
  RUN (test_back_off);
  RUN (test_failures);
  RUN (test_taken_meanwhile);
  RUN (test_granularity);
  RUN (test_plain);
  RUN (test_export);
  RUN (test_free);
  return check_end ();
}
