/* nbdkit-vram: what the kernel has complained about
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_KERNEL_LOG_H
#define VRAM_SWAP_KERNEL_LOG_H

/* Errors of /dev/nbdN that the kernel's log still holds since SINCE_MS of
 * CLOCK_BOOTTIME; -1 when it cannot be read.
 */
long kernel_log_errors (unsigned n, long long since_ms);

/* Counts one record of /dev/kmsg; for the unit test. */
int kernel_log_is_error (const char *record, unsigned n, long long since_us);

#endif
