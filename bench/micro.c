/* nbdkit-vram: measures each path of copies between host memory and VRAM
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* In one process, without NBD, to see what a GPU and its driver can do. */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "gpu/cuda/dma.h"
#include "path.h"

#define MAX_THREADS DMA_QUEUES_MAX
#define MAX_SAMPLES 100000 /* latencies kept for one measurement */
#define IDLE_MS     250

static const size_t sizes[] = { 4096, 32768, 131072, PATH_BIGGEST };
#define NR_SIZES (sizeof sizes / sizeof sizes[0])

/* Command line. */
static double seconds = 0.2; /* each measurement under load */
static unsigned idle_count = 12;
static unsigned max_threads = 8;
static unsigned gpu_index;
static const char *instructions;
static const char *only; /* NULL, or the names of some paths, with commas */
static bool json_only;

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* One measurement. */
struct job {
  const struct path *path;
  bool write;
  size_t bytes;
  unsigned threads;
  bool idle;
};

struct result {
  double per_second;     /* copies; 0 when idle */
  double p50_us, p99_us; /* of one copy, by the first thread; p99 0 if idle */
};

struct worker {
  pthread_t thread;
  const struct job *job;
  pthread_barrier_t *barrier;
  uint64_t state;
  uint64_t copies;
  uint64_t ns;       /* how long they took together */
  uint32_t *samples; /* NULL, or MAX_SAMPLES latencies in ns */
  size_t nr_samples;
};

static void
keep_sample (struct worker *worker, uint64_t ns)
{
  if (worker->samples && worker->nr_samples < MAX_SAMPLES)
    worker->samples[worker->nr_samples++] =
        ns > UINT32_MAX ? UINT32_MAX : (uint32_t) ns;
}

static void *
work (void *opaque)
{
  struct worker *worker = opaque;
  const struct job *job = worker->job;
  void (*copy) (struct kit *, size_t, size_t) =
      job->write ? job->path->write : job->path->read;
  struct kit kit;
  uint64_t start, before, after, length = (uint64_t) (seconds * 1e9);

  /* Let caches fill and clocks rise. */
  kit_open (&kit);
  start = clock_ns ();
  do
    copy (&kit, 0, job->bytes);
  while (clock_ns () - start < length / 4);

  pthread_barrier_wait (worker->barrier);
  start = after = clock_ns ();
  while (job->idle ? worker->copies < idle_count : after - start < length) {
    size_t offset =
        next_random (&worker->state) % (PATH_REGION / job->bytes) * job->bytes;

    if (job->idle) {
      clock_sleep_us (IDLE_MS * 1000);
      after = clock_ns ();
    }
    before = after;
    copy (&kit, offset, job->bytes);
    after = clock_ns ();
    keep_sample (worker, after - before);
    worker->copies++;
  }
  worker->ns = after - start;
  /* Freeing may block the device, so no thread frees while others copy. */
  pthread_barrier_wait (worker->barrier);
  kit_close (&kit);
  return NULL;
}

static int
compare_samples (const void *a, const void *b)
{
  const uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

  return x < y ? -1 : x > y;
}

static struct result
measure (const struct job *job)
{
  struct worker workers[MAX_THREADS] = { 0 };
  struct result result = { 0 };
  pthread_barrier_t barrier;
  uint32_t *samples = calloc (MAX_SAMPLES, sizeof *samples);
  size_t nr_samples;
  unsigned i;

  if (samples == NULL)
    die ("malloc: %s", strerror (errno));
  /* If the driver does not return, SIGALRM ends the program with a message. */
  alarm (PATH_WAIT_S + (unsigned) seconds + idle_count * IDLE_MS / 1000);
  pthread_barrier_init (&barrier, NULL, job->threads);
  for (i = 0; i < job->threads; ++i) {
    workers[i] = (struct worker){ .job = job,
                                  .barrier = &barrier,
                                  .state = 88172645463325252 + i,
                                  .samples = i ? NULL : samples };
    if (pthread_create (&workers[i].thread, NULL, work, &workers[i]) != 0)
      die ("pthread_create failed");
  }
  for (i = 0; i < job->threads; ++i) {
    pthread_join (workers[i].thread, NULL);
    if (!job->idle)
      result.per_second +=
          (double) workers[i].copies * 1e9 / (double) workers[i].ns;
  }
  pthread_barrier_destroy (&barrier);
  alarm (0);

  nr_samples = workers[0].nr_samples;
  qsort (samples, nr_samples, sizeof *samples, compare_samples);
  if (nr_samples > 0)
    result.p50_us = samples[nr_samples / 2] / 1e3;
  if (nr_samples >= 100)
    result.p99_us = samples[nr_samples - 1 - nr_samples / 100] / 1e3;
  free (samples);
  return result;
}

/* TEXT as a string of JSON, without its quotes.  Only ASCII is kept. */
static void
print_quoted (const char *text)
{
  putchar ('"');
  for (; *text; ++text)
    if (*text >= ' ' && *text <= '~') {
      if (*text == '"' || *text == '\\')
        putchar ('\\');
      putchar (*text);
    }
  putchar ('"');
}

/* The first line of PATH that begins with KEY, what follows the key and SEP.
 */
static void
read_line (const char *path, const char *key, const char *sep, char *value,
           size_t size)
{
  FILE *file = fopen (path, "re");
  char line[512];

  snprintf (value, size, "unknown");
  if (file == NULL)
    return;
  while (fgets (line, sizeof line, file)) {
    const char *rest = strstr (line, sep);

    if (strncmp (line, key, strlen (key)) != 0 || rest == NULL)
      continue;
    rest += strlen (sep);
    rest += strspn (rest, " \t");
    snprintf (value, size, "%.*s", (int) strcspn (rest, "\n"), rest);
    break;
  }
  fclose (file);
}

/* The results, which become one JSON value in one line. */
static char *json;
static size_t json_size;
static FILE *json_stream;

/* Adds KEY to the JSON if there is a VALUE. */
static void
report_value (const char *key, double value)
{
  if (value > 0)
    fprintf (json_stream, ",\"%s\":%.2f", key, value);
}

static void
report (const struct job *job, const struct result *result)
{
  fprintf (
      json_stream,
      "%s{\"path\":\"%s\",\"direction\":\"%s\",\"bytes\":%zu,\"threads\":%u,"
      "\"idle_ms\":%d",
      ftell (json_stream) > 0 ? "," : "", job->path->name,
      job->write ? "write" : "read", job->bytes, job->threads,
      job->idle ? IDLE_MS : 0);
  report_value ("per_second", result->per_second);
  report_value ("p50_us", result->p50_us);
  report_value ("p99_us", result->p99_us);
  fputc ('}', json_stream);
  if (json_only)
    return;
  printf ("%-12s %-5s %5zu KiB %7u", job->path->name,
          job->write ? "write" : "read", job->bytes / 1024, job->threads);
  if (job->idle)
    printf (" %18s", "idle");
  else
    printf (" %10.0f %7.2f", result->per_second,
            result->per_second * (double) job->bytes / 1e9);
  printf (" %9.2f", result->p50_us);
  if (result->p99_us > 0)
    printf (" %9.2f", result->p99_us);
  printf ("\n");
  fflush (stdout);
}

static void
measure_path (const struct path *path, bool write)
{
  struct job job = { .path = path, .write = write, .threads = 1 };
  struct result result;
  size_t i;

  for (i = 0; i < NR_SIZES; ++i) {
    job.bytes = sizes[i];
    result = measure (&job);
    report (&job, &result);
  }
  job.bytes = sizes[0];
  for (job.threads = 2; job.threads <= max_threads; job.threads *= 2) {
    result = measure (&job);
    report (&job, &result);
  }
  job.threads = 1;
  job.idle = true;
  for (i = 0; i < 2 && idle_count > 0; ++i) {
    job.bytes = sizes[i];
    result = measure (&job);
    report (&job, &result);
  }
}

/* Whether NAME is in LIST, names with commas, or NULL for any name. */
static bool
is_in (const char *name, const char *list)
{
  const size_t length = strlen (name);
  const char *place = list;

  if (list == NULL)
    return true;
  while ((place = strstr (place, name)) != NULL) {
    if ((place == list || place[-1] == ',') &&
        (place[length] == ',' || place[length] == '\0'))
      return true;
    place += length;
  }
  return false;
}

static double
parse_number (const char *text, const char *option, double least, double most)
{
  char *end;
  double value;

  errno = 0;
  value = strtod (text, &end);
  if (errno || end == text || *end || !(value >= least && value <= most))
    die ("%s: '%s': expected a number from %g to %g", option, text, least,
         most);
  return value;
}

static void
usage (FILE *stream)
{
  fprintf (
      stream,
      "Measure each way of copying between host memory and VRAM.\n"
      "usage: micro [OPTION]...\n"
      "  -d SECONDS  how long each measurement takes (%g)\n"
      "  -i COUNT    copies after an idle time of %d ms (%u); 0: none\n"
      "  -t THREADS  up to so many threads, in powers of two (%u)\n"
      "  -g INDEX    which GPU (0)\n"
      "  -w NAME     how the CPU copies through the window: avx512, avx2,\n"
      "              sse4.1 or portable (the best that it has)\n"
      "  -p PATHS    only these paths, with commas between\n"
      "  -v          print the plugin's debug messages\n"
      "  -j          only the line of JSON, without the table\n"
      "  -h          this help\n",
      seconds, IDLE_MS, idle_count, max_threads);
}

int
main (int argc, char *argv[])
{
  char cpu[256], driver[256];
  struct kit kit;
  const char *missing;
  int option;
  bool any = false;
  size_t i;

  while ((option = getopt (argc, argv, "d:i:t:g:w:p:vjh")) != -1) {
    switch (option) {
    case 'd':
      seconds = parse_number (optarg, "-d", 0.001, 60);
      break;
    case 'i':
      idle_count = (unsigned) parse_number (optarg, "-i", 0, 1000);
      break;
    case 't':
      max_threads = (unsigned) parse_number (optarg, "-t", 1, MAX_THREADS);
      break;
    case 'g':
      gpu_index = (unsigned) parse_number (optarg, "-g", 0, 255);
      break;
    case 'w':
      instructions = optarg;
      break;
    case 'p':
      only = optarg;
      break;
    case 'v':
      log_verbose = true;
      break;
    case 'j':
      json_only = true;
      break;
    case 'h':
      usage (stdout);
      return EXIT_SUCCESS;
    default:
      usage (stderr);
      return EXIT_FAILURE;
    }
  }
  if (optind < argc)
    die ("'%s': unknown argument", argv[optind]);

  alarm (2 * PATH_WAIT_S);
  paths_open (gpu_index, max_threads, instructions);
  alarm (0);
  read_line ("/proc/cpuinfo", "model name", ":", cpu, sizeof cpu);
  read_line ("/proc/driver/nvidia/version", "NVRM version", ":", driver,
             sizeof driver);

  json_stream = open_memstream (&json, &json_size);
  if (json_stream == NULL)
    die ("open_memstream: %s", strerror (errno));
  if (!json_only) {
    printf ("%s; %s; CUDA %d.%d; driver %s; window by %s\n\n", machine.gpu,
            cpu, machine.cuda / 1000, machine.cuda % 1000 / 10, driver,
            machine.instructions);
    printf ("%-12s %-5s %9s %7s %10s %7s %9s %9s\n", "path", "", "size",
            "threads", "copies/s", "GB/s", "p50 us", "p99 us");
  }
  for (i = 0; i < nr_paths; ++i) {
    if (!is_in (paths[i].name, only))
      continue;
    kit_open (&kit);
    missing = paths[i].missing ? paths[i].missing (&kit) : NULL;
    if (missing == NULL)
      path_check (&paths[i], &kit);
    kit_close (&kit);
    if (missing) {
      fprintf (stderr, "micro: without %s: %s\n", paths[i].name, missing);
      continue;
    }
    any = true;
    measure_path (&paths[i], true);
    measure_path (&paths[i], false);
  }
  if (fclose (json_stream) != 0)
    die ("out of memory");
  if (!any)
    die ("-p: none of the paths '%s'", only);

  printf ("%s{\"nbdkit_vram_micro\":1,\"gpu\":", json_only ? "" : "\n");
  print_quoted (machine.gpu);
  printf (",\"cpu\":");
  print_quoted (cpu);
  printf (",\"cuda\":\"%d.%d\",\"driver\":", machine.cuda / 1000,
          machine.cuda % 1000 / 10);
  print_quoted (driver);
  printf (",\"cpus\":%ld,\"instructions\":\"%s\",\"results\":[%s]}\n",
          sysconf (_SC_NPROCESSORS_ONLN), machine.instructions, json);
  free (json);

  alarm (PATH_WAIT_S);
  paths_close ();
  return EXIT_SUCCESS;
}
