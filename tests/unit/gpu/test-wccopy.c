/* nbdkit-vram: tests of copies to and from write-combined memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "gpu/wccopy.h"

#define PAGE 4096

static const char *const ways[] = { "avx512", "avx2", "sse4.1", "portable" };
#define WAYS (sizeof ways / sizeof ways[0])

/* Runs FN with each set of instructions that this CPU has. */
static void
each_way (void (*fn) (void))
{
  for (size_t i = 0; i < WAYS; ++i) {
    if (wccopy_choose (ways[i]) == NULL) {
      printf ("  this CPU has no %s\n", ways[i]);
      continue;
    }
    CHECK_STR (wccopy_choose (ways[i]), ways[i]);
    fn ();
  }
}

static void
fill (unsigned char *buf, size_t count, struct rnd *rnd)
{
  for (size_t i = 0; i < count; ++i)
    buf[i] = (unsigned char) rnd_next (rnd);
}

/* Copies COUNT bytes in both directions, and checks them and the bytes around
 * them.
 */
static void
copy_both_ways (size_t vram_at, size_t host_at, size_t count, struct rnd *rnd)
{
  static _Alignas(64) unsigned char vram[9 * PAGE], before[9 * PAGE];
  static _Alignas(64) unsigned char host[9 * PAGE], seen[9 * PAGE];
  const size_t around = 192, span = count + 2 * around;

  fill (vram + vram_at, span, rnd);
  memcpy (before + vram_at, vram + vram_at, span);
  fill (host + host_at, span, rnd);

  wccopy_to (vram + vram_at + around, host + host_at + around, count);
  CHECK (memcmp (vram + vram_at, before + vram_at, around) == 0);
  CHECK (memcmp (vram + vram_at + around, host + host_at + around, count) ==
         0);
  CHECK (memcmp (vram + vram_at + around + count,
                 before + vram_at + around + count, around) == 0);

  memset (seen + host_at, 0x5a, span);
  wccopy_from (seen + host_at + around, vram + vram_at + around, count);
  CHECK (memcmp (seen + host_at + around, host + host_at + around, count) ==
         0);
  for (size_t i = 0; i < around; ++i) {
    CHECK_EQ (seen[host_at + i], 0x5a);
    CHECK_EQ (seen[host_at + around + count + i], 0x5a);
  }
}

static void
every_alignment (void)
{
  struct rnd rnd;

  rnd_begin (&rnd, 1);
  for (size_t count = 0; count < 140; ++count)
    for (size_t vram_at = 0; vram_at < 64; ++vram_at)
      copy_both_ways (vram_at, rnd_below (&rnd, 64), count, &rnd);
}

static void
test_every_alignment (void)
{
  each_way (every_alignment);
}

static void
any_length (void)
{
  struct rnd rnd;

  rnd_begin (&rnd, 2);
  for (unsigned i = check_effort (3000); i > 0; --i)
    copy_both_ways (rnd_below (&rnd, 200), rnd_below (&rnd, 200),
                    rnd_below (&rnd, 8 * PAGE), &rnd);
}

static void
test_any_length (void)
{
  each_way (any_length);
}

/* PAGES pages, with a page on each side that faults. */
static unsigned char *
map_with_borders (size_t pages)
{
  unsigned char *p = mmap (NULL, (pages + 2) * PAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  CHECK (p != MAP_FAILED);
  CHECK (mprotect (p, PAGE, PROT_NONE) == 0);
  CHECK (mprotect (p + (pages + 1) * PAGE, PAGE, PROT_NONE) == 0);
  return p + PAGE;
}

static void
unmap_with_borders (unsigned char *p, size_t pages)
{
  munmap (p - PAGE, (pages + 2) * PAGE);
}

/* A copy accesses nothing outside of the mapping and the buffer. */
static void
borders (void)
{
  unsigned char *vram = map_with_borders (2), *host = map_with_borders (2);

  for (size_t count = 0; count < 300; ++count) {
    wccopy_to (vram, host + 2 * PAGE - count, count);
    wccopy_to (vram + 2 * PAGE - count, host, count);
    wccopy_from (host, vram + 2 * PAGE - count, count);
    wccopy_from (host + 2 * PAGE - count, vram, count);
  }
  unmap_with_borders (vram, 2);
  unmap_with_borders (host, 2);
}

static void
test_borders (void)
{
  each_way (borders);
}

/* A thread changes the bytes next to a range that is written all the time.  A
 * copy that reads and writes whole words would undo the changes.
 */
struct neighbours {
  _Alignas(64) volatile unsigned char vram[256];
  size_t at, count;
  atomic_bool stop;
};

static void *
write_range (void *arg)
{
  struct neighbours *n = arg;
  unsigned char host[256] = { 0 };

  while (!atomic_load (&n->stop))
    wccopy_to ((void *) (n->vram + n->at), host, n->count);
  return NULL;
}

static void
neighbours (void)
{
  static struct neighbours n;
  struct rnd rnd;
  pthread_t thread;

  rnd_begin (&rnd, 3);
  for (unsigned i = 0; i < 24; ++i) {
    n.at = 1 + rnd_below (&rnd, 130);
    n.count = 1 + rnd_below (&rnd, 120);
    atomic_store (&n.stop, false);
    CHECK (pthread_create (&thread, NULL, write_range, &n) == 0);
    for (unsigned j = 0; j < check_effort (100000); ++j) {
      n.vram[n.at - 1] = (unsigned char) j;
      n.vram[n.at + n.count] = (unsigned char) j;
      CHECK_EQ (n.vram[n.at - 1], (unsigned char) j);
      CHECK_EQ (n.vram[n.at + n.count], (unsigned char) j);
    }
    atomic_store (&n.stop, true);
    pthread_join (thread, NULL);
  }
}

static void
test_neighbours (void)
{
  each_way (neighbours);
}

/* On x86 a flag makes unaligned accesses fault, as accesses to device memory
 * do on other CPUs.  Sanitizers add unaligned accesses to the code.
 */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__x86_64__) && !defined(SANITIZED)

/* Pushes below the red zone, which belongs to the calling function. */
#define CHANGE_FLAGS(instruction)                                             \
  __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; " instruction             \
                   " popfq; lea 128(%%rsp), %%rsp" ::                         \
                       : "cc", "memory")

static inline void
set_alignment_check (bool on)
{
  if (on)
    CHANGE_FLAGS ("orl $0x40000, (%%rsp);");
  else
    CHANGE_FLAGS ("andl $0xfffbffff, (%%rsp);");
}

static sigjmp_buf unaligned;

static void
jump_back (int sig)
{
  (void) sig;
  /* The C library makes unaligned accesses. */
  set_alignment_check (false);
  siglongjmp (unaligned, 1);
}

/* Whether an unaligned access faults here.  In emulators it does not. */
static bool
alignment_is_checked (void)
{
  static _Alignas(8) char bytes[16];
  struct sigaction old,
      action = { .sa_handler = jump_back, .sa_flags = SA_NODEFER };
  volatile bool faulted = true;

  sigaction (SIGBUS, &action, &old);
  if (sigsetjmp (unaligned, 1) == 0) {
    set_alignment_check (true);
    __asm__ volatile("movq %%rax, 1(%0)" ::"r"(bytes) : "memory");
    faulted = false;
  }
  set_alignment_check (false);
  sigaction (SIGBUS, &old, NULL);
  return faulted;
}

static void
test_aligned_stores (void)
{
  static _Alignas(64) unsigned char vram[512], host[512];

  if (!alignment_is_checked ()) {
    printf ("  not tried: unaligned accesses do not fault here\n");
    return;
  }
  CHECK (wccopy_choose ("portable") != NULL);
  /* The compiler's accesses to host memory are aligned if both sides have the
   * same alignment.
   */
  for (size_t at = 0; at < 64; ++at)
    for (size_t count = 0; count < 200; ++count) {
      set_alignment_check (true);
      wccopy_to (vram + at, host + at, count);
      set_alignment_check (false);
    }
}

#else

static void
test_aligned_stores (void)
{
  printf ("  not tried: only for x86-64 without sanitizers\n");
}

#endif

static void
test_choose (void)
{
  CHECK (wccopy_choose ("mmx") == NULL);
  CHECK (wccopy_choose ("portable") != NULL);
  CHECK (wccopy_choose (NULL) != NULL);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_choose);
  RUN (test_every_alignment);
  RUN (test_any_length);
  RUN (test_borders);
  RUN (test_neighbours);
  RUN (test_aligned_stores);
  return check_end ();
}
