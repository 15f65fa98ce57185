/* nbdkit-vram: a driver API inside the test, which does what it is told and no more
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_FAKE_CUDA_H
#define VRAM_FAKE_CUDA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gpu/cuda/libcuda.h"

/* Work on a stream is done as late as it can be: one piece of it whenever the
 * stream, or an event of its, is asked.  So memory that is used before the
 * stream has done with it shows, each time and without luck.  Device addresses
 * are checked against what is allocated; VRAM beyond the first FAKE_VRAM bytes
 * has no content.
 */
#define FAKE_VRAM (4U << 20)
#define FAKE_BASE 0x7000000000ULL
#define FAKE_GPUS 4

/* FN_init for cuInit and so on, by the fields of struct libcuda. */
enum fake_function {
#define STUB(field, symbol, args) FN_##field,
#define OPTIONAL_STUB             STUB
#include "gpu/cuda/libcuda-stubs.h"
#undef STUB
#undef OPTIONAL_STUB
  FN_COUNT
};

struct fake_gpu {
  const char *name;
  unsigned char uuid[16];
  int domain, bus, device;
  uint64_t total, used_by_others;
};

struct fake {
  /* What there is; set it after fake_begin. */
  int gpus;
  struct fake_gpu gpu[FAKE_GPUS];
  uint64_t granularity;
  bool no_vmm;      /* no virtual memory management */
  atomic_bool hung; /* no work is done */
  unsigned slow_us; /* how long each piece of work takes */
  atomic_int lost;  /* what every call answers, if not 0 */

  /* After the NTH answer from now on that work is not done, the process stops for
   * so long, and finds the GPU working again.
   */
  struct {
    atomic_int nth;
    unsigned ms;
  } stop;

  /* Calls of FUNCTION do not return while this is set; how many are inside. */
  atomic_bool stuck[FN_COUNT];
  atomic_int inside;

  /* The NTH call from now on (1: the next one) of FUNCTION answers CODE. */
  struct {
    atomic_int nth;
    int code;
  } fail[FN_COUNT];

  /* What happened. */
  atomic_uint calls[FN_COUNT];
  atomic_int contexts, streams, events, pinned, handles, mappings,
      reservations, allocations;
  uint64_t vram_used;
  atomic_uint most_busy; /* streams that had work at the same time */

  /* Where the first copies to VRAM went, in order. */
  atomic_uint writes;
  uint64_t written[64];
};

extern struct fake fake;
extern unsigned char fake_vram[FAKE_VRAM];

/* Fill the table `libcuda`; one GPU with 8 GiB, nothing allocated. */
extern void fake_begin (void);

extern void fake_fail (enum fake_function function, int nth, int code);

/* How many calls there were in all. */
extern unsigned fake_calls (void);

/* Work that no stream has done yet. */
extern unsigned fake_pending (void);

/* That everything was freed. */
extern void fake_check_freed (void);

#endif /* VRAM_FAKE_CUDA_H */
