/* nbdkit-vram: vram-swap check, the doctor
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "gpu.h"
#include "json.h"
#include "meminfo.h"
#include "msg.h"
#include "nbd-device.h"
#include "options.h"
#include "room.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "service.h"
#include "swaps.h"

enum verdict { FINE, WARNING, PROBLEM };

/* Where the findings go; one line each, or one object each. */
struct report {
  struct json *json;
  unsigned problems, warnings;
};

static void __attribute__ ((format (printf, 5, 6)))
find (struct report *r, enum verdict verdict, const char *what, const char *fix,
      const char *fmt, ...)
{
  static const char *const names[] = { "ok", "warning", "problem" };
  char text[512];
  va_list args;

  va_start (args, fmt);
  vsnprintf (text, sizeof text, fmt, args);
  va_end (args);
  r->problems += verdict == PROBLEM;
  r->warnings += verdict == WARNING;
  if (r->json) {
    json_object (r->json, NULL);
    json_string (r->json, "about", what);
    json_string (r->json, "verdict", names[verdict]);
    json_string (r->json, "text", text);
    if (fix)
      json_string (r->json, "fix", fix);
    else
      json_null (r->json, "fix");
    json_close (r->json);
    return;
  }
  printf ("%-8s %s: %s\n", names[verdict], what, text);
  if (fix)
    printf ("         fix: %s\n", fix);
}

static void
check_kernel (struct report *r)
{
  struct utsname u;
  struct run m = { .limit = 10 };
  const char *argv[] = { "modinfo", "-n", "nbd", NULL };

  if (nbd_loaded ())
    find (r, FINE, "nbd driver", NULL, "loaded");
  else if (run (&m, argv, NULL, NULL) == 0)
    find (r, FINE, "nbd driver", NULL, "there, and loaded when needed");
  else {
    uname (&u);
    find (r, PROBLEM, "nbd driver",
          "install the kernel's full set of modules, or a kernel with "
          "CONFIG_BLK_DEV_NBD",
          "the running kernel (%s) has none", u.release);
  }
}

static void
check_programs (struct report *r, const struct conf *c)
{
  static const struct {
    const char *name, *fix;
  } programs[] = {
    { "nbdkit", "install the package nbdkit" },
    { "nbd-client", "install the package nbd-client (Fedora: nbd)" },
    { "mkswap", "install the package util-linux" },
    { "modprobe", "install the package kmod" },
  };
  const char *plugin = conf_text (c, CONF_PLUGIN);
  const char *argv[] = { "nbdkit", "--dump-plugin", plugin, NULL };
  struct run d = { .limit = 20 };
  char path[512];

  for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
    if (run_find (programs[i].name, path, sizeof path))
      find (r, FINE, programs[i].name, NULL, "%s", path);
    else
      find (r, PROBLEM, programs[i].name, programs[i].fix, "not installed");

  if (run (&d, argv, NULL, NULL) == 0)
    find (r, FINE, "plugin", NULL, "nbdkit loads '%s'", plugin);
  else
    find (r, PROBLEM, "plugin",
          "install it where nbdkit looks, or set plugin= to its file",
          "nbdkit does not load '%s': %s", plugin, run_reason (&d));
}

static void
check_nodes (struct report *r)
{
  static const char *const nodes[] = { "/dev/nvidiactl", "/dev/nvidia-uvm" };
  char path[512];

  for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
    if (file_exists (root_path ("%s", nodes[i])))
      find (r, FINE, nodes[i], NULL, "there");
    else if (run_find ("nvidia-modprobe", path, sizeof path))
      find (r, FINE, nodes[i], NULL, "made by nvidia-modprobe when needed");
    else
      find (r, PROBLEM, nodes[i], "install nvidia-modprobe",
            "not there, and nobody to make it");
}

static void
check_bar (struct report *r, const struct gpu *g)
{
  int64_t bar = gpu_largest_bar (g->pci);

  if (bar < 0 || g->total < 0)
    return;
  if (bar >= g->total)
    find (r, FINE, "Resizable BAR", NULL, "on: %s of %s can be mapped",
          human (bar), human (g->total));
  else
    find (r, WARNING, "Resizable BAR",
          "switch on Above 4G Decoding and Resizable BAR in the firmware's "
          "setup",
          "only %s of %s can be mapped: single pages go by DMA, several "
          "times slower",
          human (bar), human (g->total));
}

/* NVIDIA's driver: kernel and user side, VRAM, BAR. */
static void
check_gpu (struct report *r, const struct conf *c)
{
  char module[64];
  int64_t least = conf_number (c, CONF_MIN_SIZE),
          keep = conf_number (c, CONF_HEADROOM);
  struct gpu g;
  struct server s;

  if (!gpu_module_version (module, sizeof module)) {
    find (r, PROBLEM, "NVIDIA driver",
          "install NVIDIA's driver; after an installation or a kernel "
          "update, reboot",
          "its kernel module is not loaded");
    return;
  }
  check_nodes (r);
  if (!gpu_ask (&g, NULL)) {
    find (r, WARNING, "nvidia-smi",
          "if it says 'driver/library version mismatch', reboot",
          "does not answer, so that nothing is known about the GPU");
    return;
  }
  if (strcmp (g.driver, module) == 0)
    find (r, FINE, "NVIDIA driver", NULL, "%s, kernel and user side alike",
          module);
  else
    find (r, PROBLEM, "NVIDIA driver", "reboot, or reload the nvidia modules",
          "the kernel has %s, the libraries are %s", module, g.driver);
  check_bar (r, &g);

  if (server_probe (conf_text (c, CONF_SOCKET), 1000, &s) == PROBE_OK)
    find (r, FINE, "VRAM", NULL, "the server has %s already", human (s.size));
  else if (g.free - keep >= least)
    find (r, FINE, "VRAM", NULL, "%s of %s are free on %s", human (g.free),
          human (g.total), g.name);
  else
    find (r, PROBLEM, "VRAM",
          "close what uses it, or lower min-size= or "
          "headroom=",
          "%s are free on %s: less than min-size (%s) and headroom (%s)",
          human (g.free), g.name, human (least), human (keep));
}

static void
check_limits (struct report *r, const struct conf *c)
{
  struct rlimit limit;

  /* Root is not bound by it, and the unit sets its own. */
  if (geteuid () == 0 || service_has_unit ())
    find (r, FINE, "locked memory", NULL, "allowed");
  else if (getrlimit (RLIMIT_MEMLOCK, &limit) == 0 &&
           limit.rlim_cur != RLIM_INFINITY)
    find (r, conf_is (c, CONF_RESIDENT, "required") ? PROBLEM : WARNING,
          "locked memory", "run it as root or by its unit",
          "only %s may be locked", human (limit.rlim_cur));
}

static void
check_swaps (struct report *r, const struct conf *c)
{
  int priority = conf_number (c, CONF_PRIORITY);
  struct swaps s;
  char enabled[8];
  bool above = false;

  if (swaps_read (&s) == -1)
    return;
  for (size_t i = 0; i < s.n; i++) {
    const struct swap *swap = &s.swap[i];

    if (strncmp (swap->path, "/dev/nbd", 8) == 0 || swap->priority < priority)
      continue;
    above = true;
    find (r, WARNING, "priorities",
          "raise priority= above it, or lower its "
          "own",
          "%s has priority %d and fills before VRAM (%d)", swap->path,
          swap->priority, priority);
  }
  if (!above)
    find (r, FINE, "priorities", NULL,
          "VRAM (%d) fills before %zu other swap%s", priority, s.n,
          s.n == 1 ? "" : "s");

  if (read_text (root_path ("/sys/module/zswap/parameters/enabled"), enabled,
                 sizeof enabled) > 0 &&
      enabled[0] == 'Y')
    find (r, WARNING, "zswap",
          "echo N >/sys/module/zswap/parameters/enabled, or boot with "
          "zswap.enabled=0",
          "on: it compresses pages into RAM first, and VRAM sees only what "
          "is left");
  else
    find (r, FINE, "zswap", NULL, "off");
}

static void
check_sysctls (struct report *r)
{
  int64_t n;

  if (read_number (root_path ("/proc/sys/vm/page-cluster"), &n)) {
    if (n > 1)
      find (r, WARNING, "vm.page-cluster", "sysctl vm.page-cluster=0",
            "%" PRId64 ": each fault reads %d pages, which pays on disks "
            "only",
            n, 1 << n);
    else
      find (r, FINE, "vm.page-cluster", NULL, "%" PRId64, n);
  }
  if (read_number (root_path ("/proc/sys/vm/swappiness"), &n)) {
    if (n < 60)
      find (r, WARNING, "vm.swappiness", "sysctl vm.swappiness=100",
            "%" PRId64 ": the kernel rather drops file pages than swap to "
            "memory that is faster than their disk",
            n);
    else
      find (r, FINE, "vm.swappiness", NULL, "%" PRId64, n);
  }
}

static void
check_sleep (struct report *r, const struct conf *c)
{
  int preserves = gpu_preserves ();
  bool keep = conf_is (c, CONF_SLEEP_POLICY, "keep") ||
              conf_is (c, CONF_SLEEP_WHEN_FULL, "keep");

  if (preserves > 0)
    find (r, FINE, "suspend", NULL, "the driver preserves VRAM");
  else if (preserves == 0 && keep)
    find (r, PROBLEM, "suspend",
          "load nvidia with NVreg_PreserveVideoMemoryAllocations=1 and enable "
          "nvidia-suspend.service, or set sleep-policy=drain and "
          "sleep-when-full=inhibit",
          "what is swapped may be kept in VRAM, which the driver does not "
          "preserve");
  else if (preserves == 0)
    find (r, FINE, "suspend", NULL,
          "the driver does not preserve VRAM: swap is emptied before");
}

static void
check_unit (struct report *r)
{
  if (!file_exists (root_path ("/run/systemd/system")))
    find (r, FINE, "init", NULL,
          "not systemd: 'vram-swap up' and 'down' are to be called by yours");
  else if (service_has_unit ())
    find (r, FINE, "init", NULL, "systemd, and the units are installed");
  else
    find (r, WARNING, "init", "install the units and systemctl daemon-reload",
          "systemd runs, but does not know " SWAP_UNIT);
}

int
cmd_check (struct options *o)
{
  struct report r = { 0 };
  struct json j;

  if (o->json) {
    json_begin (&j, stdout);
    json_number (&j, "schema", 1);
    json_array (&j, "findings");
    r.json = &j;
  }
  check_kernel (&r);
  check_programs (&r, &o->conf);
  check_gpu (&r, &o->conf);
  check_limits (&r, &o->conf);
  check_swaps (&r, &o->conf);
  check_sysctls (&r);
  check_sleep (&r, &o->conf);
  check_unit (&r);
  if (o->json) {
    json_close (&j);
    json_number (&j, "problems", r.problems);
    json_number (&j, "warnings", r.warnings);
    json_end (&j);
  }
  else
    printf ("%u problem%s, %u warning%s\n", r.problems,
            r.problems == 1 ? "" : "s", r.warnings, r.warnings == 1 ? "" : "s");
  return r.problems ? EXIT_PROBLEM : EXIT_OK;
}
