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

enum kind { OTHER, REPLY, REQUEST, PAGE, CONNECTION };

/* What TEXT of the kernel's is about. */
static enum kind
kind_of (const char *text, unsigned n, const char *numbers)
{
  static const char *const troubles[] = {
    "timed out",           "Possible stuck request", "Dead connection",
    "Send data failed",    "Send control failed",    "Request send failed",
    "Receive data failed", "Receive control failed", "Attempted send",
    "Unexpected reply",    "Double reply",           "Suspicious reply",
  };
  char words[64];
  const char *at;

  /* Whatever kind of error the block layer calls it. */
  snprintf (words, sizeof words, " error, dev nbd%u,", n);
  if (strstr (text, words))
    return REQUEST;
  snprintf (words, sizeof words, "I/O error on dev nbd%u,", n);
  if (strstr (text, words))
    return PAGE;
  snprintf (words, sizeof words, "-error on swap-device (%s:", numbers);
  if (numbers[0] && strstr (text, words))
    return PAGE;
  snprintf (words, sizeof words, "block nbd%u: ", n);
  at = strstr (text, words);
  if (!at)
    return OTHER;
  if (strstr (at, "returned error"))
    return REPLY;
  for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++)
    if (strstr (at, troubles[i]))
      return CONNECTION;
  return OTHER;
}

void
kernel_log_add (struct kernel_log *l, const char *record, unsigned n,
                const char *numbers, long long since_us)
{
  /* "priority,sequence,microseconds,flags;text" */
  const char *text = strchr (record, ';');
  long long us;

  if (!text || sscanf (record, "%*u,%*u,%lld", &us) != 1 || us < since_us)
    return;
  switch (kind_of (text + 1, n, numbers)) {
  case REPLY:
    l->replies++;
    break;
  case REQUEST:
    l->requests++;
    break;
  case PAGE:
    l->pages++;
    break;
  case CONNECTION:
    l->connections++;
    break;
  case OTHER:
    break;
  }
}

long
kernel_log_errors (const struct kernel_log *l)
{
  long most = l->replies > l->requests ? l->replies : l->requests;

  return most > l->pages ? most : l->pages;
}

bool
kernel_log_read (struct kernel_log *l, unsigned n, long long since_ms)
{
  struct timespec boot, mono;
  char record[8192], numbers[16];
  long long since;
  ssize_t r;
  int fd = open (root_path ("/dev/kmsg"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

  *l = (struct kernel_log){ 0 };
  if (fd == -1)
    return false;
  if (read_text (root_path ("/sys/block/nbd%u/dev", n), numbers,
                 sizeof numbers) <= 0)
    numbers[0] = '\0';
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
    kernel_log_add (l, record, n, numbers, since);
  }
  close (fd);
  return true;
}
