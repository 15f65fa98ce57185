/* nbdkit-vram: tests of the watchdog, with threads that make no copies
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "nbdkit-stubs.h"
#include "watchdog.h"

#define TIMEOUT_MS 100

static sem_t lost, entered, go_on;
static struct watchdog_wait wait_of_other;

static void
tell_lost (void *arg)
{
  (void) arg;
  sem_post (&lost);
}

static void
begin (void)
{
  stub_messages_clear ();
  sem_init (&lost, 0, 0);
  sem_init (&entered, 0, 0);
  sem_init (&go_on, 0, 0);
  memset (&wait_of_other, 0, sizeof wait_of_other);
  CHECK_EQ (watchdog_start (TIMEOUT_MS, NULL), 0);
}

/* A call that does not return before GO_ON. */
static void *
hang (void *arg)
{
  (void) arg;
  watchdog_add_thread (&wait_of_other);
  watchdog_enter ();
  sem_post (&entered);
  sem_wait (&go_on);
  watchdog_leave ();
  watchdog_remove_thread ();
  return NULL;
}

/* A call hangs in one thread, while calls of the thread that started the
 * watchdog return.
 */
static void
test_other_thread_hangs (void)
{
  pthread_t other;
  int calls = 0;

  begin ();
  watchdog_on_lost (tell_lost, NULL);
  CHECK_EQ (pthread_create (&other, NULL, hang, NULL), 0);
  sem_wait (&entered);
  while (sem_trywait (&lost) == -1) {
    watchdog_enter ();
    clock_sleep_us (1000);
    if (++calls % 2)
      watchdog_leave ();
  }
  watchdog_leave ();
  CHECK_HOLDS (stub_errors (), "has not answered for 100 ms (gpu-timeout)");
  sem_post (&go_on);
  pthread_join (other, NULL);
  watchdog_forget (tell_lost, NULL);
}

/* The watchdog tells the provider, and logs nothing itself. */
static void
test_provider_is_told (void)
{
  pthread_t other;

  begin ();
  watchdog_set_expired (tell_lost, NULL);
  CHECK_EQ (pthread_create (&other, NULL, hang, NULL), 0);
  sem_wait (&lost);
  sem_post (&go_on);
  pthread_join (other, NULL);
  watchdog_set_expired (NULL, NULL);
  watchdog_stop ();
  CHECK_EQ (stub_errors_count (), 0);
}

static void *
call_again_and_again (void *arg)
{
  (void) arg;
  watchdog_add_thread (&wait_of_other);
  while (true) {
    watchdog_enter ();
    clock_sleep_us (1000);
    watchdog_leave ();
  }
  return NULL;
}

static void
end_as_expected (void)
{
  _exit (42);
}

/* The process ends when the thread that starts and ends the server hangs, even
 * if calls of another thread return.
 */
static void
test_main_thread_hangs (void)
{
  pthread_t other;
  pid_t pid = fork ();
  int status;

  CHECK (pid != -1);
  if (pid == 0) {
    check_within (CHECK_SECONDS);
    CHECK_EQ (watchdog_start (TIMEOUT_MS, end_as_expected), 0);
    CHECK_EQ (pthread_create (&other, NULL, call_again_and_again, NULL), 0);
    watchdog_enter ();
    pause ();
    _exit (1);
  }
  CHECK_EQ (waitpid (pid, &status, 0), pid);
  CHECK (WIFEXITED (status));
  CHECK_EQ (WEXITSTATUS (status), 42);
}

static atomic_bool ended;

static void
note_end (int signal_number)
{
  (void) signal_number;
  atomic_store (&ended, true);
}

/* After a signal to end, a call that hangs in another thread does not keep the
 * process, for each signal that nbdkit catches.
 */
static void
test_told_to_end (void)
{
  static const int signals[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };
  pthread_t other;
  int status;
  pid_t pid;

  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; ++i) {
    pid = fork ();
    CHECK (pid != -1);
    if (pid == 0) {
      check_within (CHECK_SECONDS);
      signal (signals[i], note_end); /* as nbdkit */
      sem_init (&lost, 0, 0);
      sem_init (&entered, 0, 0);
      sem_init (&go_on, 0, 0);
      watchdog_on_lost (tell_lost, NULL);
      CHECK_EQ (watchdog_start (TIMEOUT_MS, end_as_expected), 0);
      CHECK_EQ (pthread_create (&other, NULL, hang, NULL), 0);
      if (i % 2)
        sem_wait (&lost);
      else
        sem_wait (&entered);
      raise (signals[i]);
      CHECK (atomic_load (&ended)); /* nbdkit's handler ran, too */
      while (true)
        pause ();
    }
    CHECK_EQ (waitpid (pid, &status, 0), pid);
    CHECK (WIFEXITED (status));
    CHECK_EQ (WEXITSTATUS (status), 42);
  }
}

/* A thread without a wait of its own does not affect the others. */
static void *
enter_and_stay (void *arg)
{
  (void) arg;
  watchdog_enter ();
  sem_post (&entered);
  sem_wait (&go_on);
  return NULL;
}

static void
test_unwatched_thread (void)
{
  pthread_t unwatched;

  begin ();
  watchdog_on_lost (tell_lost, NULL);
  CHECK_EQ (pthread_create (&unwatched, NULL, enter_and_stay, NULL), 0);
  sem_wait (&entered);
  clock_sleep_us (3000 * TIMEOUT_MS);
  CHECK_EQ (sem_trywait (&lost), -1);
  sem_post (&go_on);
  pthread_join (unwatched, NULL);
  watchdog_forget (tell_lost, NULL);
  watchdog_stop ();
  CHECK_EQ (stub_errors_count (), 0);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_unwatched_thread);
  RUN (test_provider_is_told);
  RUN (test_main_thread_hangs);
  RUN (test_told_to_end);
  RUN (test_other_thread_hangs);
  return check_end ();
}
