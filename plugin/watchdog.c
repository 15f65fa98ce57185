/* nbdkit-vram: one thread that notices when the driver does not answer
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "watchdog.h"

/* The time limit in ticks.  A wait may last one tick more, because it can
 * begin at any time during a tick.
 */
#define TICKS 8

/* After the loss of the GPU: the length of a tick, and how many the thread
 * that starts or ends the server may need to notice it.
 */
#define LOST_TICK_MS 100
#define LOST_TICKS   10

#define ESCAPE_SIGNAL SIGURG

#define LISTENERS_MAX 4

static atomic_uint timeout_ms;
static void (*give_up) (void);

static bool running;
static pthread_t thread;
static sem_t wake;
static atomic_bool asleep; /* the watchdog sleeps until woken */
static atomic_bool stop;
static atomic_bool told; /* the process was told to end */
static atomic_bool lost;

static pthread_mutex_t waits_lock = PTHREAD_MUTEX_INITIALIZER;
static struct watchdog_wait *waits;
static void (*thread_expired) (void *arg);
static void *thread_expired_arg;

/* For the thread that starts and ends the server. */
static struct watchdog_wait main_wait;

static pthread_mutex_t listeners_lock = PTHREAD_MUTEX_INITIALIZER;
static struct listener {
  void (*fn) (void *arg);
  void *arg;
} listeners[LISTENERS_MAX];

/* The calling thread's kernel ID, and the wait that a signal may end.
 * initial-exec: no allocation on first use.
 */
static _Thread_local int self __attribute__ ((tls_model ("initial-exec")));
static _Thread_local struct watchdog_wait *volatile current
    __attribute__ ((tls_model ("initial-exec")));

/* The wait of watchdog_enter on the calling thread. */
static _Thread_local struct watchdog_wait *thread_wait
    __attribute__ ((tls_model ("initial-exec")));

/*
 * Signals.
 */

/* Signals that end nbdkit, and nbdkit's handlers.  (nbdkit_nanosleep would
 * notice the end as well, but logs an error each time.)
 */
static const int end_signals[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };
#define END_SIGNALS (sizeof end_signals / sizeof end_signals[0])
static struct sigaction nbdkit_actions[END_SIGNALS];

static void
told_to_end (int signal_number)
{
  int saved = errno;

  for (size_t i = 0; i < END_SIGNALS; ++i)
    if (end_signals[i] == signal_number)
      nbdkit_actions[i].sa_handler (signal_number);
  atomic_store (&told, true);
  sem_post (&wake);
  errno = saved;
}

/* Leaves signals alone that nbdkit ignores or that end it at once. */
static void
watch_signals (void)
{
  struct sigaction own;

  for (size_t i = 0; i < END_SIGNALS; ++i) {
    sigaction (end_signals[i], NULL, &nbdkit_actions[i]);
    own = nbdkit_actions[i];
    if (own.sa_flags & SA_SIGINFO || own.sa_handler == SIG_DFL ||
        own.sa_handler == SIG_IGN)
      continue;
    own.sa_handler = told_to_end;
    sigaction (end_signals[i], &own, NULL);
  }
}

static void
restore_signals (void)
{
  for (size_t i = 0; i < END_SIGNALS; ++i)
    sigaction (end_signals[i], &nbdkit_actions[i], NULL);
}

static void
leave_driver (int signal_number)
{
  struct watchdog_wait *wait = current;

  (void) signal_number;
  if (wait && atomic_load (&lost))
    siglongjmp (wait->escape, 1);
}

static void
catch_escape_signal (void)
{
  /* SA_NODEFER: the jump would not unblock the signal. */
  struct sigaction action = {
    .sa_handler = leave_driver,
    .sa_flags = SA_RESTART | SA_NODEFER,
  };

  sigemptyset (&action.sa_mask);
  sigaction (ESCAPE_SIGNAL, &action, NULL);
}

/*
 * Waits.
 */

void
watchdog_add (struct watchdog_wait *wait, void (*expired) (void *arg),
              void *arg)
{
  wait->expired = expired;
  wait->arg = arg;
  pthread_mutex_lock (&waits_lock);
  wait->next = waits;
  waits = wait;
  pthread_mutex_unlock (&waits_lock);
}

void
watchdog_remove (struct watchdog_wait *wait)
{
  struct watchdog_wait **p;

  pthread_mutex_lock (&waits_lock);
  for (p = &waits; *p && *p != wait; p = &(*p)->next)
    ;
  if (*p)
    *p = wait->next;
  pthread_mutex_unlock (&waits_lock);
}

static void
wake_up (void)
{
  if (atomic_exchange (&asleep, false))
    sem_post (&wake);
}

/* Called once on each thread. */
static void
know_thread (void)
{
  sigset_t set;

  self = (int) syscall (SYS_gettid);
  sigemptyset (&set);
  sigaddset (&set, ESCAPE_SIGNAL);
  pthread_sigmask (SIG_UNBLOCK, &set, NULL);
}

void
watchdog_begin (struct watchdog_wait *wait)
{
  if (self == 0)
    know_thread ();
  atomic_store_explicit (&wait->thread, self, memory_order_relaxed);
  current = wait;
  /* Sequentially consistent with sleep_until_woken: either the watchdog sees
   * this wait, or this thread sees that the watchdog sleeps.
   */
  atomic_fetch_add (&wait->serial, 1);
  if (atomic_load (&asleep))
    wake_up ();
}

void
watchdog_end (struct watchdog_wait *wait)
{
  current = NULL;
  atomic_fetch_add_explicit (&wait->serial, 1, memory_order_release);
}

struct watchdog_wait *
watchdog_shield (struct watchdog_wait *wait)
{
  struct watchdog_wait *before = current;

  current = wait;
  return before;
}

void
watchdog_enter (void)
{
  uint64_t serial;

  if (thread_wait == NULL)
    return;
  serial = atomic_load (&thread_wait->serial);
  atomic_store (&thread_wait->serial, (serial + 1) | 1);
  if (atomic_load (&asleep))
    wake_up ();
}

void
watchdog_leave (void)
{
  uint64_t serial;

  if (thread_wait == NULL)
    return;
  serial = atomic_load (&thread_wait->serial);
  atomic_store (&thread_wait->serial, (serial | 1) + 1);
}

static bool
is_waiting (const struct watchdog_wait *wait)
{
  return atomic_load (&wait->serial) % 2;
}

/*
 * The loss of the GPU.
 */

void
watchdog_on_lost (void (*fn) (void *arg), void *arg)
{
  size_t i = 0;

  pthread_mutex_lock (&listeners_lock);
  while (i < LISTENERS_MAX && listeners[i].fn)
    ++i;
  assert (i < LISTENERS_MAX);
  listeners[i] = (struct listener){ fn, arg };
  pthread_mutex_unlock (&listeners_lock);
}

void
watchdog_forget (void (*fn) (void *arg), void *arg)
{
  pthread_mutex_lock (&listeners_lock);
  for (size_t i = 0; i < LISTENERS_MAX; ++i)
    if (listeners[i].fn == fn && listeners[i].arg == arg)
      listeners[i].fn = NULL;
  pthread_mutex_unlock (&listeners_lock);
}

void
watchdog_lost (void)
{
  atomic_store (&lost, true);
  pthread_mutex_lock (&listeners_lock);
  for (size_t i = 0; i < LISTENERS_MAX; ++i)
    if (listeners[i].fn)
      listeners[i].fn (listeners[i].arg);
  pthread_mutex_unlock (&listeners_lock);
  if (atomic_load (&told))
    sem_post (&wake);
}

/* A wait of watchdog_enter is too long. */
static void
thread_wait_expired (void *arg)
{
  if (arg != &main_wait && thread_expired) {
    thread_expired (thread_expired_arg);
    return;
  }
  if (!atomic_load (&lost))
    log_error ("the driver has not answered for %u ms (gpu-timeout)",
               timeout_ms);
  watchdog_lost ();
}

void
watchdog_set_expired (void (*expired) (void *arg), void *arg)
{
  pthread_mutex_lock (&waits_lock);
  thread_expired = expired;
  thread_expired_arg = arg;
  pthread_mutex_unlock (&waits_lock);
}

void
watchdog_add_thread (struct watchdog_wait *wait)
{
  watchdog_add (wait, thread_wait_expired, wait);
  thread_wait = wait;
}

void
watchdog_remove_thread (void)
{
  watchdog_remove (thread_wait);
  thread_wait = NULL;
}

static void __attribute__ ((noreturn)) end_process (void)
{
  log_error ("a call into the NVIDIA driver does not return; ending without "
             "overwriting VRAM");
  if (give_up)
    give_up ();
  _exit (EXIT_FAILURE);
}

/*
 * The thread.
 */

/* Take the thread of WAIT out of the driver. */
static void
interrupt (const struct watchdog_wait *wait)
{
  int id = atomic_load (&wait->thread);

  if (id)
    syscall (SYS_tgkill, getpid (), id, ESCAPE_SIGNAL);
}

/* Look at WAIT at the end of a tick.  Returns whether it was in use. */
static bool
look_at (struct watchdog_wait *wait)
{
  uint64_t serial = atomic_load (&wait->serial);

  if (serial != wait->seen) {
    wait->seen = serial;
    wait->ticks = 0;
    return true;
  }
  if (serial % 2 == 0)
    return false;
  wait->ticks++;
  if (atomic_load (&lost))
    interrupt (wait);
  else if (wait->ticks > TICKS)
    wait->expired (wait->arg);
  return true;
}

static bool
look_at_all (void)
{
  bool active = false;

  pthread_mutex_lock (&waits_lock);
  for (struct watchdog_wait *wait = waits; wait; wait = wait->next)
    active |= look_at (wait);
  pthread_mutex_unlock (&waits_lock);
  return active;
}

/* Whether a wait has begun or ended since look_at_all. */
static bool
any_new_wait (void)
{
  bool any = false;

  pthread_mutex_lock (&waits_lock);
  for (struct watchdog_wait *wait = waits; wait; wait = wait->next)
    any |= atomic_load (&wait->serial) != wait->seen;
  pthread_mutex_unlock (&waits_lock);
  return any;
}

static void
sleep_until_woken (void)
{
  atomic_store (&asleep, true);
  if (!any_new_wait ())
    while (sem_wait (&wake) == -1)
      ;
  atomic_store (&asleep, false);
}

static void
sleep_for_a_tick (void)
{
  const unsigned ms =
      atomic_load (&lost) ? LOST_TICK_MS : (timeout_ms + TICKS - 1) / TICKS;
  const struct timespec until = clock_after_ns (UINT64_C (1000000) * ms);
  int r = 0;

  /* A signal must not shorten a tick. */
  while (!atomic_load (&stop) && (r == 0 || errno == EINTR))
    r = sem_clockwait (&wake, CLOCK_MONOTONIC, &until);
}

static void *
run (void *arg)
{
  unsigned main_ticks = 0, told_ticks = 0;
  bool active = true, ending = false;

  (void) arg;
  for (;;) {
    if (active || ending)
      sleep_for_a_tick ();
    else
      sleep_until_woken ();
    if (atomic_load (&stop))
      return NULL;
    active = look_at_all ();
    if (!atomic_load (&lost))
      continue;
    main_ticks = is_waiting (&main_wait) ? main_ticks + 1 : 0;
    ending = atomic_load (&told);
    if (ending)
      ++told_ticks;
    if (main_ticks > LOST_TICKS || told_ticks > timeout_ms / LOST_TICK_MS)
      end_process ();
  }
}

int
watchdog_start (unsigned limit_ms, void (*fn) (void))
{
  timeout_ms = limit_ms;
  give_up = fn;
  atomic_store (&stop, false);
  atomic_store (&told, false);
  atomic_store (&lost, false);
  if (running)
    return 0;
  sem_init (&wake, 0, 0);
  catch_escape_signal ();
  watchdog_add_thread (&main_wait);
  if (thread_start (&thread, run, NULL) == -1) {
    watchdog_remove_thread ();
    return -1;
  }
  running = true;
  watch_signals ();
  return 0;
}

void
watchdog_stop (void)
{
  if (!running)
    return;
  if (atomic_load (&lost)) {
    /* Go on: the driver's libraries may hang while the process exits. */
    atomic_store (&told, true);
    sem_post (&wake);
    return;
  }
  restore_signals ();
  atomic_store (&stop, true);
  sem_post (&wake);
  pthread_join (thread, NULL);
  watchdog_remove_thread ();
  running = false;
}

unsigned
watchdog_timeout_ms (void)
{
  return timeout_ms;
}
