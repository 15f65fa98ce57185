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

  /* Set once, never cleared: the context is lost or the GPU hangs.  Every
   * request fails at once from then on and no call into the driver is made.
   */
  atomic_bool lost;

  /* One bit a CUresult: which errors the log already has. */
  _Atomic uint64_t logged[16];
};

/* Initialise the driver.  Only after nbdkit has forked, because it starts
 * threads.  When the driver is still coming up it is tried again for up to
 * WAIT_MS milliseconds.  Where /dev/nvidia-uvm is missing and nvidia-modprobe
 * exists, that is run before, once.  Returns 0, or -1 after log_error.
 */
extern int cuda_init (unsigned wait_ms);

/* The version of NVIDIA's kernel module, "580.159.04", in BUF, which is
 * returned; "none" when the module is not loaded.  No driver call.
 */
#define CUDA_DRIVER_VERSION 64
extern const char *cuda_driver_version (char buf[CUDA_DRIVER_VERSION]);

/* The driver's own words for ERROR, constant strings: its name and its text.
 * Messages show both: printf ("... " CUDA_WORDS, CUDA_WORDS_ARGS (error)).
 */
extern const char *cuda_error_name (CUresult error);
extern const char *cuda_error_text (CUresult error);
#define CUDA_WORDS             "%s (%s)"
#define CUDA_WORDS_ARGS(error) cuda_error_text (error), cuda_error_name (error)

/* Open the primary context of DEVICE and make it current on the calling
 * thread.  Returns 0, or -1 after log_error.
 */
extern int cuda_open (struct cuda *cuda, CUdevice device);

/* Close the context, unless it is lost: then the driver is not called again,
 * because it might not return, and the kernel cleans up at exit.
 */
extern void cuda_close (struct cuda *cuda);

/* Make the context current on the calling thread, at the cost of one
 * comparison when it is already.  Returns 0, or -1 as cuda_failed does; -1
 * with errno = EIO at once when the context is lost.
 */
extern int cuda_enter (struct cuda *cuda);

/* Whether the calling thread has the context current. */
extern bool cuda_entered (const struct cuda *cuda);

/* Free VRAM in bytes.  The calling thread must have entered the context.
 * Returns 0, or -1 after log_error.
 */
extern int cuda_free_bytes (struct cuda *cuda, uint64_t *bytes);

/* Report that the driver answered ERROR when asked to WHAT ("copy to VRAM"):
 * logged once per kind of error, not once per request.  STREAM, or
 * without one (NULL) a second try to make the context current, tells whether
 * the error sticks: then the context is lost.  Sets errno to EIO and returns
 * -1, so that callers can return its result.
 */
extern int cuda_failed (struct cuda *cuda, CUresult error, const char *what,
                        CUstream stream);

/* Declare the context lost, for REASON, which is logged (once), and tell those
 * who want to know (watchdog_on_lost).
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
