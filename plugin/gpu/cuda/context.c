/* nbdkit-vram: one GPU's CUDA context, and what its errors mean
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/clock.h"
#include "common/memlock.h"
#include "common/thread.h"
#include "gpu/cuda/context.h"
#include "watchdog.h"

#define UVM_NODE       "/dev/nvidia-uvm"
#define MODULE_VERSION "/sys/module/nvidia/version"

/* The exit status of a child whose exec has failed, as in a shell. */
#define CANNOT_RUN 127

/* How long nvidia-modprobe may take, in seconds. */
#define MAKE_NODES_MS 20000

/* Hardware queues that the driver opens for all streams together, unless the
 * user has set CUDA_DEVICE_MAX_CONNECTIONS.  The driver's default of 8 takes
 * 26 MiB more resident memory, and makes DMA of 8 jobs 1 % faster on average,
 * 4 KiB writes of 32 threads 6 %.  With 1 queue they are 40 % slower (H100,
 * driver 580.159.04).
 */
#define HARDWARE_QUEUES "3"

/* Pause between tries while the driver is starting, in ms. */
#define RETRY_MS 200

/* The context that the calling thread has made current.  initial-exec: no
 * allocation on first use.
 */
static _Thread_local CUcontext current
    __attribute__ ((tls_model ("initial-exec")));

const char *
cuda_error_name (CUresult error)
{
  const char *name = NULL;

  if (libcuda.get_error_name (error, &name) != CUDA_SUCCESS || name == NULL)
    return "unknown CUDA error";
  return name;
}

const char *
cuda_error_text (CUresult error)
{
  const char *text = NULL;

  if (libcuda.get_error_string (error, &text) != CUDA_SUCCESS || text == NULL)
    return "no description";
  return text;
}

const char *
cuda_driver_version (char buf[CUDA_DRIVER_VERSION])
{
  FILE *fp = fopen (MODULE_VERSION, "re");

  if (fp == NULL || fgets (buf, CUDA_DRIVER_VERSION, fp) == NULL)
    snprintf (buf, CUDA_DRIVER_VERSION, "none");
  buf[strcspn (buf, "\n")] = '\0';
  if (fp)
    fclose (fp);
  return buf;
}

/* The device node of CUDA's memory manager may be missing after boot.
 * NVIDIA's nvidia-modprobe, which is setuid root, makes it (-c0: the first
 * GPU's node, -u: the memory manager's).  It also loads the modules, so it
 * helps if there is no node at all.
 */
static void
make_device_nodes (void)
{
  static char program[] = "nvidia-modprobe", c0[] = "-c0", u[] = "-u";
  char *argv[] = { program, c0, u, NULL };
  uint64_t deadline = clock_ms () + MAKE_NODES_MS;
  pid_t pid;
  int status = 0;

  if (access (UVM_NODE, F_OK) == 0)
    return;
  pid = fork ();
  if (pid == -1) {
    log_warning ("%s is missing and nvidia-modprobe cannot be run: %m",
                 UVM_NODE);
    return;
  }
  if (pid == 0) {
    memlock_undo ();
    execvp (program, argv);
    _exit (CANNOT_RUN);
  }
  while (waitpid (pid, &status, WNOHANG) == 0) {
    watchdog_enter ();
    if (clock_ms () > deadline) {
      log_warning ("nvidia-modprobe -c0 -u has not ended after %d s",
                   MAKE_NODES_MS / 1000);
      return;
    }
    clock_sleep_us (1000);
  }
  if (WIFEXITED (status) && WEXITSTATUS (status) == CANNOT_RUN)
    log_debug ("%s is missing and nvidia-modprobe cannot be run", UVM_NODE);
  else
    log_debug ("ran nvidia-modprobe -c0 -u because %s was missing", UVM_NODE);
}

/* Errors of a driver that is still starting. */
static bool
may_go_away (CUresult error)
{
  return error == CUDA_ERROR_NO_DEVICE ||
         error == CUDA_ERROR_SYSTEM_NOT_READY || error == CUDA_ERROR_UNKNOWN;
}

static const char *
advice (CUresult error)
{
  switch (error) {
  case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    return "; libcuda and the kernel module have different versions, as after "
           "an update of the driver: reboot, or reload the nvidia modules";
  case CUDA_ERROR_NO_DEVICE:
    return "; check with nvidia-smi whether there is a GPU and the nvidia "
           "kernel module is loaded";
  case CUDA_ERROR_UNKNOWN:
    return "; if /dev/nvidia-uvm is missing, run nvidia-modprobe -c0 -u";
  default:
    return "";
  }
}

int
cuda_init (unsigned wait_ms)
{
  uint64_t deadline = clock_ms () + wait_ms;
  CUresult r;

  make_device_nodes ();
  setenv ("CUDA_DEVICE_MAX_CONNECTIONS", HARDWARE_QUEUES, 0);
  for (;;) {
    watchdog_enter ();
    thread_relax_timers (true);
    r = libcuda.init (0);
    thread_relax_timers (false);
    if (r == CUDA_SUCCESS)
      return 0;
    if (!may_go_away (r) || clock_ms () >= deadline)
      break;
    log_debug ("cuInit: " CUDA_WORDS ": trying again", CUDA_WORDS_ARGS (r));
    clock_sleep_us (RETRY_MS * 1000);
  }
  log_error ("cannot initialise the NVIDIA driver: " CUDA_WORDS "%s",
             CUDA_WORDS_ARGS (r), advice (r));
  return -1;
}

static CUresult
make_current (const struct cuda *cuda)
{
  CUresult r = libcuda.ctx_set_current (cuda->context);

  if (r == CUDA_SUCCESS)
    current = cuda->context;
  return r;
}

int
cuda_open (struct cuda *cuda, CUdevice device)
{
  CUresult r;

  cuda->device = device;
  atomic_init (&cuda->lost, false);
  for (size_t i = 0; i < sizeof cuda->logged / sizeof cuda->logged[0]; ++i)
    atomic_init (&cuda->logged[i], 0);

  /* Starts a thread that polls 10 times a second. */
  thread_relax_timers (true);
  r = libcuda.primary_ctx_retain (&cuda->context, device);
  thread_relax_timers (false);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot open a CUDA context: " CUDA_WORDS, CUDA_WORDS_ARGS (r));
    return -1;
  }
  r = make_current (cuda);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot make the CUDA context current: " CUDA_WORDS,
               CUDA_WORDS_ARGS (r));
    libcuda.primary_ctx_release (device);
    return -1;
  }
  return 0;
}

void
cuda_close (struct cuda *cuda)
{
  CUresult r;

  if (cuda_is_lost (cuda))
    return;
  r = libcuda.primary_ctx_release (cuda->device);
  if (r != CUDA_SUCCESS)
    log_debug ("cuDevicePrimaryCtxRelease: " CUDA_WORDS, CUDA_WORDS_ARGS (r));
  current = NULL;
}

bool
cuda_entered (const struct cuda *cuda)
{
  return current == cuda->context;
}

int
cuda_enter (struct cuda *cuda)
{
  CUresult r;

  if (cuda_is_lost (cuda)) {
    errno = EIO;
    return -1;
  }
  if (cuda_entered (cuda))
    return 0;
  r = make_current (cuda);
  if (r != CUDA_SUCCESS)
    return cuda_failed (cuda, r, "make the CUDA context current", NULL);
  return 0;
}

int
cuda_free_bytes (struct cuda *cuda, uint64_t *bytes)
{
  size_t bytes_free, bytes_total;
  CUresult r;

  (void) cuda;
  r = libcuda.mem_get_info (&bytes_free, &bytes_total);
  if (r != CUDA_SUCCESS) {
    log_error ("cannot ask how much VRAM is free: " CUDA_WORDS,
               CUDA_WORDS_ARGS (r));
    return -1;
  }
  *bytes = bytes_free;
  return 0;
}

/* Whether ERROR has not been logged yet. */
static bool
first_of_its_kind (struct cuda *cuda, CUresult error)
{
  unsigned bit = (unsigned) error % 1024;
  uint64_t mask = UINT64_C (1) << (bit % 64);

  return !(atomic_fetch_or (&cuda->logged[bit / 64], mask) & mask);
}

int
cuda_failed (struct cuda *cuda, CUresult error, const char *what,
             CUstream stream)
{
  struct watchdog_wait *wait = watchdog_shield (NULL);
  CUresult r;

  if (first_of_its_kind (cuda, error))
    log_error ("cannot %s: " CUDA_WORDS
               " (logged once; further errors of this kind "
               "fail their request only)",
               what, CUDA_WORDS_ARGS (error));
  watchdog_shield (wait);

  /* If the context has failed, as after an Xid, every later call returns an
   * error too.
   */
  if (!cuda_is_lost (cuda)) {
    r = stream ? libcuda.stream_query (stream) : make_current (cuda);
    /* A lack of host memory may be temporary. */
    if (r != CUDA_SUCCESS && r != CUDA_ERROR_NOT_READY &&
        (stream || r != CUDA_ERROR_OUT_OF_MEMORY))
      cuda_set_lost (cuda, CUDA_WORDS, CUDA_WORDS_ARGS (r));
  }
  errno = EIO;
  return -1;
}

void
cuda_set_lost (struct cuda *cuda, const char *reason, ...)
{
  struct watchdog_wait *wait;
  char words[256];
  va_list args;

  if (atomic_exchange (&cuda->lost, true))
    return;
  wait = watchdog_shield (NULL);
  watchdog_lost ();
  va_start (args, reason);
  vsnprintf (words, sizeof words, reason, args);
  va_end (args);
  log_error ("the GPU is lost, with all data of this disk: %s; every request "
             "fails from now on; detach the clients and restart the server "
             "(look for Xid in the kernel's log)",
             words);
  watchdog_shield (wait);
}

void
cuda_expired (void *cuda)
{
  cuda_set_lost (cuda, "the driver has not answered for %u ms (gpu-timeout)",
                 watchdog_timeout_ms ());
}
