/* nbdkit-vram: vram-swap check: suspend and hibernation
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "findings.h"
#include "gpu.h"
#include "policy.h"
#include "root.h"
#include "runstate.h"
#include "swaps.h"

static void
check_suspend (struct report *r, const struct conf *c)
{
  const int preserves = gpu_preserves ();
  const bool keep = conf_is (c, CONF_SLEEP_POLICY, "keep") ||
                    conf_is (c, CONF_SLEEP_WHEN_FULL, "keep");
  const char *why = "";

  if (preserves < 0)
    return;
  if (policy_preserves_safely (&why))
    finding (r, FINE, "suspend", NULL, "the driver preserves VRAM");
  else if (!keep)
    finding (r, FINE, "suspend", NULL, "swap is emptied before: %s", why);
  else if (preserves > 0)
    finding (r, WARNING, "suspend",
             "set sleep-policy = auto and sleep-when-full = inhibit",
             "swapped data may be kept in VRAM, but %s", why);
  else
    finding (
        r, PROBLEM, "suspend",
        "load nvidia with NVreg_PreserveVideoMemoryAllocations=1 and enable "
        "nvidia-suspend.service, or set sleep-policy=drain and "
        "sleep-when-full=inhibit",
        "swapped data may be kept in VRAM, which the driver does not "
        "preserve");
}

/* The device number of a swap area as "8:3": of the device, or of the disk
 * that a file is on.
 */
static bool
device_number (const struct swap *swap, char *number, size_t size)
{
  const char *name = strrchr (swap->path, '/');
  struct stat st;

  if (!swap->is_file)
    return name && read_text (root_path ("/sys/class/block%s/dev", name),
                              number, size) > 0;
  if (stat (root_path ("%s", swap->path), &st) == -1)
    return false;
  snprintf (number, size, "%u:%u", major (st.st_dev), minor (st.st_dev));
  return true;
}

/* The swap area that systemd would write the image to, or NULL: the area that
 * resume= names, if that is set, otherwise the one with the highest priority
 * that is not zram.  DISK becomes the best one on a disk.
 */
static const struct swap *
hibernation_area (const struct swaps *s, const char *resume, const char *own,
                  const struct swap **disk)
{
  const bool named = strcmp (resume, "0:0") != 0;
  const struct swap *chosen = NULL;
  char number[24];

  *disk = NULL;
  for (size_t i = 0; i < s->n; i++) {
    const struct swap *swap = &s->swap[i];

    if (swap_is_zram (swap))
      continue;
    if (!*disk && strncmp (swap->path, "/dev/nbd", 8) != 0 &&
        strcmp (swap->path, own) != 0)
      *disk = swap;
    if (!chosen && (!named || (device_number (swap, number, sizeof number) &&
                               strcmp (number, resume) == 0)))
      chosen = swap;
  }
  return chosen;
}

/* systemd asks before it sleeps, while swap is still on: VRAM must never be
 * where it wants to write the image.
 */
static void
check_hibernation (struct report *r, const struct conf *c)
{
  const int priority = conf_number (c, CONF_PRIORITY);
  const struct swap *chosen, *disk;
  char states[64], resume[24] = "0:0", own[32];
  struct swaps s;
  struct runstate st;

  if (read_text (root_path ("/sys/power/state"), states, sizeof states) <= 0 ||
      !strstr (states, "disk")) {
    finding (r, FINE, "hibernation", NULL, "this kernel does not offer it");
    return;
  }
  if (swaps_read (&s) == -1)
    return;
  read_text (root_path ("/sys/power/resume"), resume, sizeof resume);
  runstate_read (&st);
  snprintf (own, sizeof own, "/dev/nbd%d", runstate_device (&st));
  chosen = hibernation_area (&s, resume, own, &disk);

  if (chosen && strcmp (resume, "0:0") != 0)
    finding (r, FINE, "hibernation", NULL, "goes to %s, which resume= names",
             chosen->path);
  else if (strcmp (resume, "0:0") != 0)
    finding (r, WARNING, "hibernation",
             "correct resume= on the kernel's command line, or switch on the "
             "swap area that it names",
             "resume= names the device %s, where no swap is on: systemd does "
             "not hibernate",
             resume);
  else if (!disk)
    finding (r, WARNING, "hibernation",
             "add a swap area on a disk and boot with resume= for it, or "
             "systemctl mask hibernate.target",
             "no swap is on a disk: systemd would offer it because of VRAM, "
             "and then fail");
  else if (disk->priority < priority)
    finding (r, WARNING, "hibernation",
             "boot with resume= for it (and resume_offset= for a file): then "
             "systemd looks at no other",
             "systemd takes the swap with the highest priority: VRAM (%d) "
             "rather than %s (%d)",
             priority, disk->path, disk->priority);
  else
    finding (r, FINE, "hibernation", NULL, "goes to %s, by its priority",
             disk->path);
}

void
check_sleep (struct report *r, const struct conf *c)
{
  check_suspend (r, c);
  check_hibernation (r, c);
}
