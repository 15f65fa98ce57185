/* nbdkit-vram: what the unit tests are written with
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CHECK_H
#define VRAM_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A test program's main is a row of RUN (a function that takes nothing), and
 * returns check_end ().  The first check that fails ends the program with the
 * line, what was compared, and the seed of the random choices.
 *
 *   VRAM_SEED=N   repeat what was seen with this seed; else every run has its
 *                 own
 *   arguments     run only the tests whose names contain one of them
 */
extern void check_begin (int argc, char *argv[]);
extern bool check_wanted (const char *name);
extern int check_end (void);

#define RUN(fn)                                                               \
  do {                                                                        \
    if (check_wanted (#fn))                                                   \
      fn ();                                                                  \
  } while (0)

/* The same in a process of the test's own, for a driver, which lives as long
 * as its process.
 */
extern void check_alone (void (*fn) (void));
#define RUN_ALONE(fn)                                                         \
  do {                                                                        \
    if (check_wanted (#fn))                                                   \
      check_alone (fn);                                                       \
  } while (0)

/* No test may hang: the program is ended, as failed, when the test that is
 * running takes longer than this, or SECONDS for what is left of it; that is
 * multiplied by VRAM_TEST_SLOW.
 */
#define CHECK_SECONDS 300
extern void check_within (unsigned seconds);

/* Any thread may fail. */
extern void check_fail (const char *file, int line, const char *fmt, ...)
    __attribute__ ((noreturn, format (printf, 3, 4)));

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition))                                                         \
      check_fail (__FILE__, __LINE__, "%s", #condition);                      \
  } while (0)

/* Two numbers that are to be the same; both are evaluated once. */
#define CHECK_EQ(a, b)                                                        \
  do {                                                                        \
    const int64_t check_a = (int64_t) (a), check_b = (int64_t) (b);           \
    if (check_a != check_b)                                                   \
      check_fail (__FILE__, __LINE__, "%s is %" PRId64 ", %s is %" PRId64,    \
                  #a, check_a, #b, check_b);                                  \
  } while (0)

extern void check_str (const char *file, int line, const char *what,
                       const char *a, const char *b);
#define CHECK_STR(a, b) check_str (__FILE__, __LINE__, #a, a, b)

/* Whether the text A holds B. */
extern void check_holds (const char *file, int line, const char *what,
                         const char *a, const char *b);
#define CHECK_HOLDS(a, b) check_holds (__FILE__, __LINE__, #a, a, b)

/* Random numbers, one row a thread: a struct of its own each, begun with the
 * program's seed and a number that tells the threads apart.
 */
struct rnd {
  uint64_t state;
};
extern uint64_t check_seed (void);
extern void rnd_begin (struct rnd *rnd, uint64_t number);
extern uint64_t rnd_next (struct rnd *rnd);

/* From 0 to N - 1. */
static inline uint64_t
rnd_below (struct rnd *rnd, uint64_t n)
{
  return rnd_next (rnd) % n;
}

/* How much to do where more finds more: N, or one part of VRAM_TEST_PART under
 * tools that slow the program down.
 */
extern unsigned check_effort (unsigned n);

#endif /* VRAM_CHECK_H */
