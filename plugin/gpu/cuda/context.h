/* nbdkit-vram: one GPU's CUDA context, and what its errors mean
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_CONTEXT_H
#define VRAM_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "gpu/cuda/libcuda.h"

/* A context on one GPU.  Fields other than the atomics are constant after
 * cuda_open.
 */
struct cuda {
  CUdevice device;
  CUcontext context;

  /* The context is lost or the GPU hangs.  Never cleared.  From then on every
   * request fails at once, and the driver is not called.
   */
  atomic_bool lost;

  /* One bit for each CUresult that has been logged. */
  _Atomic uint64_t logged[16];
};

/* Initialise the driver.  Call it after nbdkit has forked, because it starts
 * threads.  While the driver is starting, tries again for up to WAIT_MS
 * milliseconds.  If /dev/nvidia-uvm is missing, runs nvidia-modprobe once
 * before.  Returns 0, or -1 after log_error.
 */
extern int cuda_init (unsigned wait_ms);

/* The version of NVIDIA's kernel module, "580.159.04", in BUF, which is
 * returned; "none" when the module is not loaded.  No driver call.
 */
#define CUDA_DRIVER_VERSION 64
extern const char *cuda_driver_version (char buf[CUDA_DRIVER_VERSION]);

/* The driver's name and text for ERROR, constant strings.  Messages show both:
 * printf ("... " CUDA_WORDS, CUDA_WORDS_ARGS (error)).
 */
extern const char *cuda_error_name (CUresult error);
extern const char *cuda_error_text (CUresult error);
#define CUDA_WORDS             "%s (%s)"
#define CUDA_WORDS_ARGS(error) cuda_error_text (error), cuda_error_name (error)

/* Open the primary context of DEVICE and make it current on the calling
 * thread.  Returns 0, or -1 after log_error.
 */
extern int cuda_open (struct cuda *cuda, CUdevice device);

/* Close the context.  If it is lost, do nothing, because a call into the
 * driver might not return; the kernel cleans up at exit.
 */
extern void cuda_close (struct cuda *cuda);

/* Make the context current on the calling thread.  If it is already, this
 * costs one comparison.  Returns 0, or -1 as cuda_failed does, at once if the
 * context is lost.
 */
extern int cuda_enter (struct cuda *cuda);

/* Whether the context is current on the calling thread. */
extern bool cuda_entered (const struct cuda *cuda);

/* Free VRAM in bytes.  The calling thread must have entered the context.
 * Returns 0, or -1 after log_error.
 */
extern int cuda_free_bytes (struct cuda *cuda, uint64_t *bytes);

/* Report that the driver returned ERROR when asked to WHAT ("copy to VRAM").
 * Each kind of error is logged once, not once per request.  Then STREAM is
 * queried, or if it is NULL the context made current, to find out whether the
 * error stays: if so, the context is lost.  Sets errno to EIO and returns -1,
 * so that callers can return its result.
 */
extern int cuda_failed (struct cuda *cuda, CUresult error, const char *what,
                        CUstream stream);

/* Declare the context lost, log REASON (once), and call the functions of
 * watchdog_on_lost.
 */
extern void cuda_set_lost (struct cuda *cuda, const char *reason, ...)
    __attribute__ ((format (printf, 2, 3)));

/* The driver has not answered a wait of the context CUDA: for watchdog_add. */
extern void cuda_expired (void *cuda);

static inline bool
cuda_is_lost (const struct cuda *cuda)
{
  return atomic_load_explicit (&cuda->lost, memory_order_acquire);
}

#endif /* VRAM_CONTEXT_H */
