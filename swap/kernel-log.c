/* nbdkit-vram: what the kernel has complained about
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernel-log.h"
#include "root.h"

int
kernel_log_is_error (const char *record, unsigned n, long long since_us)
{
  static const char *const complaints[] = {
    "I/O error",        "timed out",           "Possible stuck request",
    "Send data failed", "Send control failed", "Receive data failed",
    "Dead connection",  "returned error",      "Unexpected reply",
  };
  /* "priority,sequence,microseconds,flags;text" */
  const char *text = strchr (record, ';'), *at;
  long long us;
  char device[16];

  if (!text || sscanf (record, "%*u,%*u,%lld", &us) != 1 || us < since_us)
    return 0;
  snprintf (device, sizeof device, "nbd%u", n);
  at = strstr (text, device);
  /* Not nbd10 for nbd1. */
  if (!at || (at[strlen (device)] >= '0' && at[strlen (device)] <= '9'))
    return 0;
  for (size_t i = 0; i < sizeof complaints / sizeof complaints[0]; i++)
    if (strstr (text, complaints[i]))
      return 1;
  return 0;
}

long
kernel_log_errors (unsigned n, long long since_ms)
{
  struct timespec boot, mono;
  char record[8192];
  long errors = 0;
  long long since;
  ssize_t r;
  int fd = open (root_path ("/dev/kmsg"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

  if (fd == -1)
    return -1;
  /* The log's clock stands still while the machine sleeps. */
  clock_gettime (CLOCK_BOOTTIME, &boot);
  clock_gettime (CLOCK_MONOTONIC, &mono);
  since = since_ms * 1000 - (boot.tv_sec - mono.tv_sec) * 1000000LL;
  for (;;) {
    r = read (fd, record, sizeof record - 1);
    /* EPIPE: records were overwritten meanwhile; the next read goes on. */
    if (r == -1 && (errno == EPIPE || errno == EINTR))
      continue;
    if (r <= 0)
      break;
    record[r] = '\0';
    errors += kernel_log_is_error (record, n, since);
  }
  close (fd);
  return errors;
}
