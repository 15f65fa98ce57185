/* nbdkit-vram: a program that takes VRAM, as a game or a model does
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* competitor SIZE STEP [RETRY-US [DEVICE]]: prints "ready" and waits for a
 * line on stdin, so that its start is not measured.  Then it allocates SIZE in
 * steps of STEP (such as 8G 256M) as fast as it can.  If VRAM is short, it
 * repeats a step after RETRY-US microseconds (default 1000).  Prints
 *
 *   allocated=BYTES refusals=N us=TIME longest_us=TIME
 *
 * where longest_us is the longest time that one step took with its refusals,
 * and holds the VRAM until the end of stdin.
 *
 * Exit status: 0, 1 if VRAM was refused for a whole minute, 2 if something
 * else failed, 77 if there is no GPU.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/units.h"
#include "gpu/cuda/context.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/libcuda.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"

#define GIVE_UP_MS 60000

static uint64_t
parse_size (const char *text)
{
  char *end;
  uint64_t n = strtoull (text, &end, 10);

  switch (*end) {
  case 'G':
    return n * GiB;
  case 'M':
    return n * MiB;
  default:
    return n;
  }
}

/* Allocates STEP, with repetitions.  Returns the exit status. */
static int
take_step (uint64_t step, uint64_t retry_us, uint64_t *refusals)
{
  const uint64_t give_up = clock_ms () + GIVE_UP_MS;
  CUdeviceptr address;
  CUresult r;

  while ((r = libcuda.mem_alloc (&address, step)) ==
         CUDA_ERROR_OUT_OF_MEMORY) {
    ++*refusals;
    if (clock_ms () > give_up)
      return 1;
    clock_sleep_us (retry_us);
  }
  if (r == CUDA_SUCCESS)
    return 0;
  fprintf (stderr, "cuMemAlloc: " CUDA_WORDS "\n", CUDA_WORDS_ARGS (r));
  return 2;
}

static int
take (uint64_t size, uint64_t step, uint64_t retry_us)
{
  const uint64_t start = clock_ns ();
  uint64_t taken = 0, refusals = 0, longest = 0, before;
  int status = 0;

  while (status == 0 && taken < size) {
    before = clock_ns ();
    status = take_step (step, retry_us, &refusals);
    if (status == 0)
      taken += step;
    if (clock_ns () - before > longest)
      longest = clock_ns () - before;
  }
  printf ("allocated=%" PRIu64 " refusals=%" PRIu64 " us=%" PRIu64
          " longest_us=%" PRIu64 "\n",
          taken, refusals, (clock_ns () - start) / 1000, longest / 1000);
  fflush (stdout);
  return status;
}

static int
compete (char *argv[], uint64_t retry_us)
{
  int status, c;

  printf ("ready\n");
  fflush (stdout);
  while ((c = getchar ()) != '\n' && c != EOF)
    ;
  status = take (parse_size (argv[1]), parse_size (argv[2]), retry_us);
  while (getchar () != EOF)
    ;
  return status;
}

int
main (int argc, char *argv[])
{
  struct devices gpus;
  struct cuda cuda;
  const struct device *gpu;
  int status = 2;

  if (argc < 3 || argc > 5 || parse_size (argv[2]) == 0) {
    fprintf (stderr, "usage: competitor SIZE STEP [RETRY-US [DEVICE]]\n");
    return 2;
  }
  if (libcuda_load () == -1 || cuda_init (0) == -1)
    return 77;
  if (devices_list (&gpus) == -1)
    return 2;
  gpu = argc > 4 ? devices_find (&gpus, argv[4])
                 : devices_most_free (&cuda_provider, &gpus);
  if (gpu && device_open (gpu, &cuda) == 0) {
    status = compete (argv, argc > 3 ? strtoull (argv[3], NULL, 10) : 1000);
    /* The driver frees everything. */
    cuda_close (&cuda);
  }
  devices_free (&gpus);
  return status;
}
