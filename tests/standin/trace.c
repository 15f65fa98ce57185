/* nbdkit-vram: the stand-in driver's trace and report: call counts, leaks,
 * dirty VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "standin.h"

const char *const function_names[FN_COUNT] = {
#define FUNCTION(name, needs) #name,
#include "functions.h"
#undef FUNCTION
};

static const char *const resource_names[RES_COUNT] = {
  "context",    "stream", "event",   "pinned",
  "allocation", "handle", "mapping", "reservation"
};

#define DIGITS 10

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace_fd = -1;
static atomic_ulong counts[FN_COUNT];
static off_t places[FN_COUNT];

static struct {
  _Atomic int64_t count, bytes;
} resources[RES_COUNT];
static _Atomic uint64_t dirty;
/* The process that called cuInit, which writes the report. */
static _Atomic pid_t report_pid;

/* Copies PATTERN to BUF with %p replaced. */
static void
expand (char *buf, size_t len, const char *pattern)
{
  const char *p = strstr (pattern, "%p");

  if (p)
    snprintf (buf, len, "%.*s%d%s", (int) (p - pattern), pattern,
              (int) getpid (), p + 2);
  else
    snprintf (buf, len, "%s", pattern);
}

static void
trace_open (void)
{
  char path[4096], line[80];
  off_t at = 0;
  int i, n;

  expand (path, sizeof path, config.trace);
  trace_fd = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (trace_fd == -1)
    settings_fatal ("TRACE: %s: %m", path);
  for (i = 0; i < FN_COUNT; i++) {
    n = snprintf (line, sizeof line, "%s %*d\n", function_names[i], DIGITS, 0);
    if (pwrite (trace_fd, line, (size_t) n, at) != n)
      settings_fatal ("TRACE: %s: %m", path);
    places[i] = at + n - DIGITS - 1;
    at += n;
  }
}

/* The real driver reads its environment in cuInit, so write it there. */
static void
write_environment (void)
{
  const char *value = getenv ("CUDA_DISABLE_PERF_BOOST");
  FILE *fp;

  if (!config.environment)
    return;
  fp = fopen (config.environment, "we");
  if (!fp)
    settings_fatal ("ENVIRONMENT: %s: %m", config.environment);
  fprintf (fp, "CUDA_DISABLE_PERF_BOOST=%s\n", value ? value : "(unset)");
  fclose (fp);
}

void
trace_call (enum function fn)
{
  char digits[24];

  if (fn == FN_cuInit) {
    atomic_store (&report_pid, getpid ());
    write_environment ();
  }
  atomic_fetch_add (&counts[fn], 1);
  if (!config.trace)
    return;
  pthread_mutex_lock (&lock);
  if (trace_fd == -1)
    trace_open ();
  snprintf (digits, sizeof digits, "%*lu", DIGITS, atomic_load (&counts[fn]));
  if (pwrite (trace_fd, digits, DIGITS, places[fn]) != DIGITS)
    settings_fatal ("TRACE: %m");
  pthread_mutex_unlock (&lock);
}

unsigned
trace_calls (const char *name)
{
  unsigned long n = 0;

  for (int i = 0; i < FN_COUNT; i++)
    if (name == NULL || strcmp (name, function_names[i]) == 0)
      n += atomic_load (&counts[i]);
  return (unsigned) n;
}

int
report_held (void)
{
  int64_t n = 0;

  for (int i = 0; i < RES_COUNT; i++)
    n += resources[i].count;
  return (int) n;
}

void
report_resource (enum resource res, int n, int64_t bytes)
{
  atomic_fetch_add (&resources[res].count, n);
  atomic_fetch_add (&resources[res].bytes, bytes);
}

void
report_dirty (uint64_t bytes)
{
  atomic_fetch_add (&dirty, bytes);
}

__attribute__ ((destructor)) static void
report (void)
{
  char path[4096];
  FILE *fp;
  int i;

  if (!config.report || report_pid != getpid ())
    return;
  expand (path, sizeof path, config.report);
  fp = fopen (path, "we");
  if (!fp)
    settings_fatal ("REPORT: %s: %m", path);
  if (fault_any_lost ())
    fputs ("lost\n", fp);
  for (i = 0; i < RES_COUNT; i++)
    if (resources[i].count)
      fprintf (fp, "leaked %s %" PRId64 " %" PRId64 "\n", resource_names[i],
               (int64_t) resources[i].count, (int64_t) resources[i].bytes);
  physical_report_all ();
  fprintf (fp, "dirty %" PRIu64 "\n", (uint64_t) dirty);
  fclose (fp);
}
