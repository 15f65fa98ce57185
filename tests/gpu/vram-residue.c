/* nbdkit-vram: searches free VRAM for old data
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* vram-residue MARKER [DEVICE]: allocates all free VRAM, as any program can,
 * and searches it for MARKER, 16 characters, at multiples of 16 bytes.  Prints
 * how much VRAM it has searched, and how often it has found MARKER.
 *
 * Exit status: 0 not found, 1 found, 2 something failed, 77 there is no GPU.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda/context.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/libcuda.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"
#include "common/units.h"

#define MARKER     16
#define LARGEST    GiB
#define SMALLEST   (2 * MiB)
#define PIECE      (32 * MiB)
#define PIECES_MAX 4096

struct piece {
  CUdeviceptr address;
  uint64_t size;
};

static struct piece pieces[PIECES_MAX];
static size_t piece_count;

/* Allocates all VRAM, in pieces that get smaller. */
static uint64_t
take_all (void)
{
  uint64_t size = LARGEST, taken = 0;

  while (size >= SMALLEST && piece_count < PIECES_MAX) {
    struct piece *piece = &pieces[piece_count];

    if (libcuda.mem_alloc (&piece->address, size) != CUDA_SUCCESS) {
      size /= 2;
      continue;
    }
    piece->size = size;
    piece_count++;
    taken += size;
  }
  return taken;
}

static uint64_t
count_marker (const char *buf, size_t count, const char *marker)
{
  uint64_t found = 0;

  for (size_t i = 0; i + MARKER <= count; i += MARKER)
    if (memcmp (buf + i, marker, MARKER) == 0)
      found++;
  return found;
}

/* Copies a piece part by part to BUF, pinned memory of PIECE bytes, and counts
 * the marker.
 */
static int
search (const struct piece *piece, CUstream stream, char *buf,
        const char *marker, uint64_t *found)
{
  uint64_t n;
  CUresult r;

  for (uint64_t done = 0; done < piece->size; done += n) {
    n = piece->size - done < PIECE ? piece->size - done : PIECE;
    r = libcuda.memcpy_dtoh_async (buf, piece->address + done, n, stream);
    while (r == CUDA_SUCCESS &&
           (r = libcuda.stream_query (stream)) == CUDA_ERROR_NOT_READY)
      r = CUDA_SUCCESS;
    if (r != CUDA_SUCCESS) {
      fprintf (stderr, "copy: " CUDA_WORDS "\n", CUDA_WORDS_ARGS (r));
      return -1;
    }
    *found += count_marker (buf, n, marker);
  }
  return 0;
}

static int
look (const char *marker)
{
  uint64_t taken, found = 0;
  CUstream stream;
  void *buf;
  int r = 0;

  if (libcuda.stream_create (&stream, CU_STREAM_NON_BLOCKING) !=
          CUDA_SUCCESS ||
      libcuda.mem_host_alloc (&buf, PIECE, CU_MEMHOSTALLOC_PORTABLE) !=
          CUDA_SUCCESS) {
    fprintf (stderr, "no stream or no pinned memory\n");
    return 2;
  }
  taken = take_all ();
  for (size_t i = 0; r == 0 && i < piece_count; ++i)
    r = search (&pieces[i], stream, buf, marker, &found);
  printf ("looked at %s of VRAM, found %" PRIu64 " of it\n", SIZE_STR (taken),
          found);
  while (piece_count > 0)
    libcuda.mem_free (pieces[--piece_count].address);
  libcuda.mem_free_host (buf);
  libcuda.stream_destroy (stream);
  if (r == -1 || taken == 0)
    return 2;
  return found > 0;
}

int
main (int argc, char *argv[])
{
  struct devices gpus;
  struct cuda cuda;
  const struct device *gpu;
  int status = 2;

  if (argc < 2 || argc > 3 || strlen (argv[1]) != MARKER) {
    fprintf (stderr, "usage: vram-residue MARKER [DEVICE]; MARKER has 16 "
                     "characters\n");
    return 2;
  }
  if (libcuda_load () == -1 || cuda_init (0) == -1)
    return 77;
  if (devices_list (&gpus) == -1)
    return 2;
  gpu = argc > 2 ? devices_find (&gpus, argv[2])
                 : devices_most_free (&cuda_provider, &gpus);
  if (gpu && device_open (gpu, &cuda) == 0) {
    status = look (argv[1]);
    cuda_close (&cuda);
  }
  devices_free (&gpus);
  return status;
}
