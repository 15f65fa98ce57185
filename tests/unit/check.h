/* nbdkit-vram: the framework of the unit tests
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CHECK_H
#define VRAM_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A test program's main calls RUN for each test, a function without arguments,
 * and returns check_end ().  The first check that fails ends the program with
 * the line, the values, and the seed of the random numbers.
 *
 *   VRAM_SEED=N   use this seed; by default each run has another one
 *   arguments     run only tests whose names contain one of them
 */
extern void check_begin (int argc, char *argv[]);
extern bool check_wanted (const char *name);
extern int check_end (void);

#define RUN(fn)                                                               \
  do {                                                                        \
    if (check_wanted (#fn))                                                   \
      fn ();                                                                  \
  } while (0)

/* The same in a process of its own, for a driver, which lives as long as its
 * process.
 */
extern void check_alone (void (*fn) (void));
#define RUN_ALONE(fn)                                                         \
  do {                                                                        \
    if (check_wanted (#fn))                                                   \
      check_alone (fn);                                                       \
  } while (0)

/* A test that takes longer than this ends the program as failed.  check_limit
 * allows SECONDS for the rest of the test.  VRAM_TEST_SLOW multiplies both.
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

/* The two numbers must be equal.  Both are evaluated once. */
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

/* The text A must contain B. */
extern void check_holds (const char *file, int line, const char *what,
                         const char *a, const char *b);
#define CHECK_HOLDS(a, b) check_holds (__FILE__, __LINE__, #a, a, b)

/* Random numbers.  Each thread has a struct of its own, which begins with the
 * program's seed and a number of the thread.
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

/* How often to repeat something: N times, or N / VRAM_TEST_PART times under
 * tools that slow the program down.
 */
extern unsigned check_effort (unsigned n);

#endif /* VRAM_CHECK_H */
