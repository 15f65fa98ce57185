/* nbdkit-vram: the stand-in driver's settings, from the environment
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "standin.h"

#define PREFIX "STANDIN_CUDA_"

struct config config;

CUresult
parse_code (const char *what, const char *s)
{
  if (isdigit ((unsigned char) *s))
    return (CUresult) settings_number (what, s);

  CUresult r = error_by_name (s);

  if (r < 0)
    settings_fatal ("%s: not a CUresult: '%s'", what, s);
  return r;
}

static const char *
get (const char *name)
{
  return settings_get (PREFIX, name);
}

static uint64_t
number (const char *name, uint64_t fallback)
{
  const char *s = get (name);

  return s ? settings_number (name, s) : fallback;
}

static uint64_t
size (const char *name, uint64_t fallback)
{
  const char *s = get (name);

  return s ? settings_size (name, s) : fallback;
}

static void
load_device (int i)
{
  char buf[128], text[64];
  const char *s;
  int *pci = config.pci[i];

  if ((s = get ("NAMES")) != NULL)
    snprintf (config.names[i], sizeof config.names[i], "%.63s",
              settings_item (s, i, buf, sizeof buf));
  else
    snprintf (config.names[i], sizeof config.names[i], "Stand-in GPU %d", i);

  settings_uuid (config.uuids[i].bytes, get ("UUIDS"), i);

  snprintf (text, sizeof text, "0000:%02x:00.0", (unsigned int) i + 1);
  s = get ("PCI");
  s = s ? settings_item (s, i, buf, sizeof buf) : text;
  if (sscanf (s, "%x:%x:%x.%x", (unsigned int *) &pci[0],
              (unsigned int *) &pci[1], (unsigned int *) &pci[2],
              (unsigned int *) &pci[3]) != 4)
    settings_fatal ("PCI: not a PCI address: '%s'", s);

  s = get ("MEMORY");
  config.memory[i] =
      s ? settings_size ("MEMORY", settings_item (s, i, buf, sizeof buf))
        : 8ULL << 30;
  s = get ("USED");
  config.used[i] =
      s ? settings_size ("USED", settings_item (s, i, buf, sizeof buf)) : 0;
}

static void
load_delay (void)
{
  const char *s = get ("DELAY"), *dash;
  char low[32];

  if (!s)
    return;
  dash = strchr (s, '-');
  if (dash) {
    snprintf (low, sizeof low, "%.*s", (int) (dash - s), s);
    config.delay_min = settings_number ("DELAY", low);
    s = dash + 1;
  }
  config.delay_max = settings_number ("DELAY", s);
  if (config.delay_min > config.delay_max)
    settings_fatal ("DELAY: more at least than at most");
}

static void
load_shrink (void)
{
  const char *s = get ("SHRINK"), *colon;
  char buf[32];

  if (!s)
    return;
  colon = strchr (s, ':');
  config.shrink_times = colon ? settings_number ("SHRINK", colon + 1) : 1;
  snprintf (buf, sizeof buf, "%.*s", (int) strcspn (s, ":"), s);
  config.shrink = settings_size ("SHRINK", buf);
}

static void
load (void)
{
  static const char known[] =
      " DEVICES NAMES UUIDS PCI MEMORY USED USED_FILE POOL CONTEXT VERSION"
      " NO_VMM NO_EXPORT NO_MEMOPS DEVPTR_DIFFERS GARBAGE SHARED DELAY SEED "
      "FAIL"
      " FAIL_FILE INIT_FAIL LOSE_COPY LOSE_FILE LOSE_DEVICE LOSE_CODE"
      " HANG_COPY HANG_FILE HANG_CALL_FILE SHRINK TRACE ENVIRONMENT REPORT"
      " LATE GRANULARITY HOST_MEMORY ";
  const char *s;
  int i;

  settings_check (PREFIX, known);
  config.devices = (int) number ("DEVICES", 1);
  if (config.devices > MAX_DEVICES)
    settings_fatal ("DEVICES: at most %d", MAX_DEVICES);
  for (i = 0; i < config.devices; i++)
    load_device (i);
  config.used_file = get ("USED_FILE");
  config.pool = get ("POOL");
  config.context = size ("CONTEXT", 0);
  config.host_memory = size ("HOST_MEMORY", 0);
  config.version = (int) number ("VERSION", 12080);
  config.no_vmm = number ("NO_VMM", 0) != 0;
  config.no_export = number ("NO_EXPORT", 0) != 0;
  config.no_memops = number ("NO_MEMOPS", 0) != 0;
  config.devptr_differs = number ("DEVPTR_DIFFERS", 0) != 0;
  config.granularity = size ("GRANULARITY", GRANULARITY);
  config.late = number ("LATE", 0) != 0;
  config.garbage = size ("GARBAGE", UINT64_MAX);
  config.shared = get ("SHARED");
  load_delay ();
  config.seed = number ("SEED", 1);
  config.fail = get ("FAIL");
  config.fail_file = get ("FAIL_FILE");
  config.init_fail = get ("INIT_FAIL");
  config.lose_copy = number ("LOSE_COPY", 0);
  config.lose_file = get ("LOSE_FILE");
  config.lose_device = -1;
  if ((s = get ("LOSE_DEVICE")) != NULL)
    config.lose_device = (int) settings_number ("LOSE_DEVICE", s);
  s = get ("LOSE_CODE");
  config.lose_code =
      s ? parse_code ("LOSE_CODE", s) : CUDA_ERROR_LAUNCH_FAILED;
  config.hang_copy = number ("HANG_COPY", 0);
  config.hang_file = get ("HANG_FILE");
  config.hang_call_file = get ("HANG_CALL_FILE");
  load_shrink ();
  config.trace = get ("TRACE");
  config.environment = get ("ENVIRONMENT");
  config.report = get ("REPORT");
  fault_load ();
}

void
config_load (void)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;

  pthread_once (&once, load);
}
