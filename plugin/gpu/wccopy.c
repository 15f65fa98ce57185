/* nbdkit-vram: copies to and from write-combined memory
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "gpu/wccopy.h"

/* A line of the CPU's write-combining buffers. */
#define LINE 64

/* See wccopy.h on data races. */
#define NO_TSAN __attribute__ ((no_sanitize ("thread")))

/* Integers that may alias any type. */
typedef uint16_t __attribute__ ((may_alias)) word16;
typedef uint32_t __attribute__ ((may_alias)) word32;
typedef uint64_t __attribute__ ((may_alias)) word64;

/* One set of instructions. */
struct instructions {
  const char *name;
  bool (*usable) (void);
  /* Copy LINES lines.  The address in VRAM is aligned to a line. */
  void (*store_lines) (char *dst, const char *src, size_t lines);
  void (*load_lines) (char *dst, const char *src, size_t lines);
};

/* Portable: 8 bytes at a time.  The accesses are volatile, so that the
 * compiler does not join, split or repeat them.
 */

static bool
always (void)
{
  return true;
}

NO_TSAN static void
store_portable (char *dst, const char *src, size_t lines)
{
  volatile word64 *to = (volatile word64 *) (void *) dst;
  uint64_t word;

  for (size_t i = 0; i < lines * LINE / sizeof word; ++i) {
    memcpy (&word, src + i * sizeof word, sizeof word);
    to[i] = word;
  }
}

NO_TSAN static void
load_portable (char *dst, const char *src, size_t lines)
{
  const volatile word64 *from = (const volatile word64 *) (const void *) src;
  uint64_t word;

  for (size_t i = 0; i < lines * LINE / sizeof word; ++i) {
    word = from[i];
    memcpy (dst + i * sizeof word, &word, sizeof word);
  }
}

#ifdef __x86_64__

/* Whole lines by streaming stores leave the CPU as one write on the bus each.
 * Loads come in rows ahead of the stores to host memory, so that many of them
 * are under way.
 */

static bool
has_avx512 (void)
{
  return __builtin_cpu_supports ("avx512f");
}

NO_TSAN __attribute__ ((target ("avx512f"))) static void
store_avx512 (char *dst, const char *src, size_t lines)
{
  for (; lines > 0; --lines, dst += LINE, src += LINE)
    _mm512_stream_si512 ((__m512i *) (void *) dst,
                         _mm512_loadu_si512 ((const void *) src));
}

NO_TSAN __attribute__ ((target ("avx512f"))) static void
load_avx512 (char *dst, const char *src, size_t lines)
{
  __m512i row[8];

  for (; lines >= 8; lines -= 8, dst += 8 * LINE, src += 8 * LINE) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      row[i] = _mm512_stream_load_si512 ((void *) (src + i * LINE));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      _mm512_storeu_si512 (dst + i * LINE, row[i]);
  }
  for (; lines > 0; --lines, dst += LINE, src += LINE)
    _mm512_storeu_si512 (dst, _mm512_stream_load_si512 ((void *) src));
}

static bool
has_avx2 (void)
{
  return __builtin_cpu_supports ("avx2");
}

NO_TSAN __attribute__ ((target ("avx2"))) static void
store_avx2 (char *dst, const char *src, size_t lines)
{
  __m256i low, high;

  for (; lines > 0; --lines, dst += LINE, src += LINE) {
    low = _mm256_loadu_si256 ((const __m256i_u *) (const void *) src);
    high = _mm256_loadu_si256 ((const __m256i_u *) (const void *) (src + 32));
    _mm256_stream_si256 ((__m256i *) (void *) dst, low);
    _mm256_stream_si256 ((__m256i *) (void *) (dst + 32), high);
  }
}

NO_TSAN __attribute__ ((target ("avx2"))) static void
load_avx2 (char *dst, const char *src, size_t lines)
{
  __m256i row[8];

  for (; lines >= 4; lines -= 4, dst += 4 * LINE, src += 4 * LINE) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      row[i] = _mm256_stream_load_si256 (
          (const __m256i *) (const void *) (src + i * 32));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      _mm256_storeu_si256 ((__m256i_u *) (void *) (dst + i * 32), row[i]);
  }
  for (lines *= 2; lines > 0; --lines, dst += 32, src += 32)
    _mm256_storeu_si256 (
        (__m256i_u *) (void *) dst,
        _mm256_stream_load_si256 ((const __m256i *) (const void *) src));
}

static bool
has_sse41 (void)
{
  return __builtin_cpu_supports ("sse4.1");
}

NO_TSAN static void
store_sse (char *dst, const char *src, size_t lines)
{
  __m128i row[4];

  for (; lines > 0; --lines, dst += LINE, src += LINE) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      row[i] =
          _mm_loadu_si128 ((const __m128i_u *) (const void *) (src + i * 16));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      _mm_stream_si128 ((__m128i *) (void *) (dst + i * 16), row[i]);
  }
}

NO_TSAN __attribute__ ((target ("sse4.1"))) static void
load_sse41 (char *dst, const char *src, size_t lines)
{
  __m128i row[8];

  for (; lines >= 2; lines -= 2, dst += 2 * LINE, src += 2 * LINE) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      row[i] = _mm_stream_load_si128 ((__m128i *) (void *) (src + i * 16));
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      _mm_storeu_si128 ((__m128i_u *) (void *) (dst + i * 16), row[i]);
  }
  for (lines *= 4; lines > 0; --lines, dst += 16, src += 16)
    _mm_storeu_si128 ((__m128i_u *) (void *) dst,
                      _mm_stream_load_si128 ((__m128i *) (void *) src));
}

#endif /* __x86_64__ */

/* Best first. */
static const struct instructions sets[] = {
#ifdef __x86_64__
  { "avx512", has_avx512, store_avx512, load_avx512 },
  { "avx2", has_avx2, store_avx2, load_avx2 },
  { "sse4.1", has_sse41, store_sse, load_sse41 },
#endif
  { "portable", always, store_portable, load_portable },
};

#define SETS (sizeof sets / sizeof sets[0])

/* The default until wccopy_init runs everywhere. */
static const struct instructions *chosen = &sets[SETS - 1];
static bool is_chosen;

const char *
wccopy_choose (const char *name)
{
  for (size_t i = 0; i < SETS; ++i)
    if ((name == NULL || strcmp (name, sets[i].name) == 0) &&
        sets[i].usable ()) {
      chosen = &sets[i];
      is_chosen = true;
      return chosen->name;
    }
  return NULL;
}

const char *
wccopy_chosen (void)
{
  return is_chosen ? chosen->name : wccopy_choose (NULL);
}

/* Later loads are not executed before this, and not answered from a buffer
 * that was filled before.
 */
static inline void
fence_before_loads (void)
{
#if defined(__x86_64__)
  _mm_mfence ();
#elif defined(__aarch64__)
  __asm__ volatile("dsb sy" ::: "memory");
#else
  __sync_synchronize ();
#endif
}

void
wccopy_drain (void)
{
#if defined(__x86_64__)
  _mm_sfence ();
#elif defined(__aarch64__)
  __asm__ volatile("dsb sy" ::: "memory");
#else
  __sync_synchronize ();
#endif
}

/* How many bytes at ADDRESS, of COUNT, lie in a line that begins before it. */
static size_t
head (const void *address, size_t count)
{
  size_t n = (size_t) (-(uintptr_t) address % LINE);

  return n < count ? n : count;
}

/* Store COUNT bytes, less than a line, in naturally aligned pieces. */
NO_TSAN static void
store_part (char *dst, const char *src, size_t count)
{
  uint64_t v64;
  uint32_t v32;
  uint16_t v16;
  size_t n;

  for (; count > 0; count -= n, dst += n, src += n) {
    uintptr_t at = (uintptr_t) dst;

    if (at % 8 == 0 && count >= 8) {
      n = 8;
      memcpy (&v64, src, n);
      *(volatile word64 *) (void *) dst = v64;
    }
    else if (at % 4 == 0 && count >= 4) {
      n = 4;
      memcpy (&v32, src, n);
      *(volatile word32 *) (void *) dst = v32;
    }
    else if (at % 2 == 0 && count >= 2) {
      n = 2;
      memcpy (&v16, src, n);
      *(volatile word16 *) (void *) dst = v16;
    }
    else {
      n = 1;
      *(volatile char *) dst = *src;
    }
  }
}

/* Load COUNT bytes that lie in one line, by loading the whole line. */
static void
load_part (char *dst, const char *src, size_t count)
{
  _Alignas(LINE) char line[LINE];
  size_t into = (uintptr_t) src % LINE;

  chosen->load_lines (line, src - into, 1);
  memcpy (dst, line + into, count);
}

void
wccopy_to (void *dst, const void *src, size_t count)
{
  char *to = dst;
  const char *from = src;
  size_t n = head (to, count);

  store_part (to, from, n);
  to += n;
  from += n;
  count -= n;
  n = count / LINE * LINE;
  chosen->store_lines (to, from, n / LINE);
  store_part (to + n, from + n, count - n);
  wccopy_drain ();
}

void
wccopy_from (void *dst, const void *src, size_t count)
{
  char *to = dst;
  const char *from = src;
  size_t n = head (from, count);

  fence_before_loads ();
  if (n > 0)
    load_part (to, from, n);
  to += n;
  from += n;
  count -= n;
  n = count / LINE * LINE;
  chosen->load_lines (to, from, n / LINE);
  if (count > n)
    load_part (to + n, from + n, count - n);
}
