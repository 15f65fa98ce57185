/* nbdkit-vram: vram-swap check, the doctor
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "capacity.h"
#include "gpu.h"
#include "json.h"
#include "meminfo.h"
#include "msg.h"
#include "nbd-device.h"
#include "options.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "service.h"
#include "state.h"
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
    json_add_object (r->json, NULL);
    json_add_string (r->json, "about", what);
    json_add_string (r->json, "verdict", names[verdict]);
    json_add_string (r->json, "text", text);
    if (fix)
      json_add_string (r->json, "fix", fix);
    else
      json_add_null (r->json, "fix");
    json_close (r->json);
    return;
  }
  printf ("%-8s %s: %s\n", names[verdict], what, text);
  if (fix)
    printf ("         fix: %s\n", fix);
}

static void
check_conf (struct report *r, const struct options *o)
{
  const char *line = o->conf.errors;

  if (!o->conf_wrong)
    find (r, FINE, "configuration", NULL, "%s",
          file_exists (o->conf.file) ? o->conf.file
                                     : "the defaults: there is no file");
  while (line) {
    size_t n = strcspn (line, "\n");

    find (r, PROBLEM, "configuration",
          "mend it, see nbdkit-vram.conf(5); nothing starts before", "%.*s",
          (int) n, line);
    line = line[n] ? line + n + 1 : NULL;
  }
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
check_programs (struct report *r)
{
  static const struct {
    const char *name, *fix;
  } programs[] = {
    { "nbdkit", "install the package nbdkit" },
    { "nbd-client", "install the package nbd-client (Fedora: nbd)" },
    { "mkswap", "install the package util-linux" },
    { "modprobe", "install the package kmod" },
  };
  char path[512];

  for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
    if (run_find (programs[i].name, path, sizeof path))
      find (r, FINE, programs[i].name, NULL, "%s", path);
    else
      find (r, PROBLEM, programs[i].name, programs[i].fix, "not installed");
}

/* What the server will find: nbdkit's words about the plugin with the device
 * that is set, in D.  False when it does not load.
 */
static bool
check_plugin (struct report *r, const struct conf *c, struct run *d)
{
  const char *plugin = conf_text (c, CONF_PLUGIN), *device = NULL;
  const char *argv[] = { "nbdkit", "--dump-plugin", plugin, NULL, NULL };

  for (const char *const *word = service_command (c); *word; word++)
    if (strncmp (*word, "device=", strlen ("device=")) == 0)
      device = *word;
  argv[3] = device;
  if (run (d, argv, NULL, NULL) == 0) {
    find (r, FINE, "plugin", NULL, "nbdkit loads '%s'", plugin);
    return true;
  }
  find (r, PROBLEM, "plugin",
        "install it where nbdkit looks, or set plugin= to its file",
        "nbdkit does not load '%s': %s", plugin, run_reason (d));
  return false;
}

/* Whether libcuda is there, is of the kernel module's version, and starts: it
 * has been tried.
 */
static bool
check_libcuda (struct report *r, const struct run *d)
{
  const char *error = gpu_dumped (d->output, "vram_error"), *version;
  char text[512], *fix;

  if (error) {
    /* The last part of it is what to do. */
    snprintf (text, sizeof text, "%s", error);
    fix = strrchr (text, ';');
    if (fix) {
      *fix++ = '\0';
      fix += strspn (fix, " ");
    }
    find (r, PROBLEM, "libcuda",
          fix ? fix : "nvidia-smi and the kernel's log may say more", "%s",
          text);
    return false;
  }
  version = gpu_dumped (d->output, "vram_cuda_version");
  if (!version) {
    find (r, WARNING, "libcuda",
          "set plugin= to the file of nbdkit-vram's plugin, unless another one "
          "is meant",
          "the plugin is not nbdkit-vram's, so that nothing is known of it and "
          "of the GPU");
    return false;
  }
  find (r, FINE, "libcuda", NULL, "starts, for CUDA %s", version);
  return true;
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

static void
check_vram (struct report *r, const struct conf *c, const struct gpu *g,
            const struct server *s)
{
  int64_t least = conf_number (c, CONF_MIN_SIZE),
          keep = conf_number (c, CONF_HEADROOM);

  if (s)
    find (r, FINE, "VRAM", NULL, "the server has %s already", human (s->size));
  else if (g->free == -1)
    find (r, WARNING, "VRAM", "nvidia-smi may say more",
          "%s does not say how much is free", g->name);
  else if (g->free - keep >= least)
    find (r, FINE, "VRAM", NULL, "%s of %s are free on %s", human (g->free),
          human (g->total), g->name);
  else
    find (r, PROBLEM, "VRAM",
          "close what uses it, or lower min-size= or "
          "headroom=",
          "%s are free on %s: less than min-size (%s) and headroom (%s)",
          human (g->free), g->name, human (least), human (keep));
}

/* NVIDIA's driver: kernel and user side, BAR, VRAM.  S is the server, or NULL
 * when none answers.
 */
static void
check_gpu (struct report *r, const struct conf *c, const struct server *s)
{
  char module[64];
  struct run d = { .limit = 60 };
  struct gpu g;

  if (gpu_module_version (module, sizeof module)) {
    find (r, FINE, "NVIDIA driver", NULL, "%s is loaded", module);
    check_nodes (r);
  }
  else
    find (r, PROBLEM, "NVIDIA driver",
          "install NVIDIA's driver; after an installation or a kernel "
          "update, reboot",
          "its kernel module is not loaded");
  if (!check_plugin (r, c, &d) || !check_libcuda (r, &d))
    return;
  if (!gpu_of_dump (&g, d.output)) {
    find (r, PROBLEM, "device",
          "set device= to one of those that nbdkit --dump-plugin lists", "%s",
          run_reason (&d));
    return;
  }
  find (r, FINE, "device", NULL, "%s, %s", g.name, g.pci);
  check_bar (r, &g);
  check_vram (r, c, &g, s);
}

/* The capabilities that nobody here can have more than, root included. */
static bool
bounding_set (const char *process, uint64_t *set)
{
  char text[32];

  return read_field (root_path ("/proc/%s/status", process), "CapBnd:", text,
                     sizeof text) &&
         sscanf (text, "%" SCNx64, set) == 1;
}

static void
check_limits (struct report *r, const struct conf *c, bool unit)
{
  const enum verdict bad =
      conf_is (c, CONF_RESIDENT, "required") ? PROBLEM : WARNING;
  const uint64_t lock = UINT64_C (1) << CAP_IPC_LOCK,
                 flusher = UINT64_C (1) << CAP_SYS_RESOURCE;
  struct rlimit limit;
  uint64_t set;

  if (geteuid () != 0 && !unit) {
    if (getrlimit (RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY)
      find (r, bad, "locked memory", "run it as root or by its unit",
            "only %s may be locked", human (limit.rlim_cur));
    return;
  }
  /* systemd gives the unit what it has itself. */
  if (!bounding_set (unit ? "1" : "self", &set))
    find (r, WARNING, "capabilities", "mount /proc",
          "it is not known which the server can have");
  else if ((set & lock) && (set & flusher))
    find (r, FINE, "capabilities", NULL,
          "the server can lock memory and be an I/O flusher");
  else
    find (r, bad, "capabilities",
          "let the container have them, or run it outside",
          "the server cannot have %s%s%s here, not even as root",
          set & lock ? "" : "CAP_IPC_LOCK",
          (set & lock) || (set & flusher) ? "" : " and ",
          set & flusher ? "" : "CAP_SYS_RESOURCE");
}

#define CGROUPS "/sys/fs/cgroup"

/* The control group below CGROUPS that the server is or will be in. */
static bool
server_cgroup (pid_t server, bool unit, char *buf, size_t size)
{
  char text[4096], *at, process[24] = "self";

  if (server == 0 && unit) {
    snprintf (buf, size, CGROUPS "/system.slice/" SERVER_UNIT);
    return true;
  }
  if (server != 0)
    snprintf (process, sizeof process, "%ld", (long) server);
  if (read_text (root_path ("/proc/%s/cgroup", process), text, sizeof text) <=
      0)
    return false;
  at = strstr (text, "0::/");
  if (!at)
    return false;
  at += strlen ("0::");
  if (at[1] == '\n' || at[1] == '\0')
    at++; /* the root has no name */
  snprintf (buf, size, CGROUPS "%.*s", (int) strcspn (at, "\n"), at);
  return true;
}

/* What the unit asks for, while it has no control group yet. */
static bool
unit_limits (struct report *r)
{
  const char *argv[] = { "systemctl", "show",       "-p",        "MemoryMax",
                         "-p",        "MemoryHigh", SERVER_UNIT, NULL };
  struct run d = { .limit = 10 };
  char *line, *lines = d.output, *value;
  bool found = false;

  if (run (&d, argv, NULL, NULL) == -1)
    return false;
  while ((line = strsep (&lines, "\n")) != NULL) {
    value = strchr (line, '=');
    if (!value || strcmp (value, "=infinity") == 0)
      continue;
    *value++ = '\0';
    found = true;
    find (r, PROBLEM, "memory limit", "take it out of " SERVER_UNIT,
          "%s is %s: a server that gets no memory stops the machine", line,
          human (strtoll (value, NULL, 10)));
  }
  return found;
}

/* Whether a limit on the memory of the server, or of what it is part of, could
 * keep it from answering the kernel that wants to free memory.
 */
static void
check_memory_limits (struct report *r, pid_t server, bool unit)
{
  static const char *const files[] = { "memory.max", "memory.high" };
  char path[512], text[32];
  bool found = false;

  if (!server_cgroup (server, unit, path, sizeof path))
    return; /* no control groups of version 2 */
  if (unit && !file_exists (root_path ("%s", path)))
    found = unit_limits (r);
  for (; strlen (path) >= strlen (CGROUPS); *strrchr (path, '/') = '\0')
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
      if (read_text (root_path ("%s/%s", path, files[i]), text, sizeof text) >
              0 &&
          strcmp (text, "max") != 0) {
        found = true;
        find (r, PROBLEM, "memory limit",
              "set MemoryMax= and MemoryHigh= of that unit or slice to "
              "infinity",
              "%s/%s is %s: a server that gets no memory stops the machine",
              path, files[i], human (strtoll (text, NULL, 10)));
      }
  if (!found)
    find (r, FINE, "memory limit", NULL, "none for the server");
}

static void
check_swaps (struct report *r, const struct conf *c)
{
  int priority = conf_number (c, CONF_PRIORITY);
  struct swaps s;
  struct state st;
  char enabled[8], own[32];
  size_t others = 0;
  bool above = false;

  if (swaps_read (&s) == -1)
    return;
  state_read (&st);
  snprintf (own, sizeof own, "/dev/nbd%d", state_device (&st));
  for (size_t i = 0; i < s.n; i++) {
    const struct swap *swap = &s.swap[i];

    if (strcmp (swap->path, own) == 0)
      continue;
    others++;
    if (swap->priority < priority)
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
          "VRAM (%d) fills before %zu other swap%s", priority, others,
          others == 1 ? "" : "s");

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
check_unit (struct report *r, bool unit)
{
  if (!file_exists (root_path ("/run/systemd/system")))
    find (r, FINE, "init", NULL,
          "not systemd: 'vram-swap up' and 'down' are to be called by yours");
  else if (unit)
    find (r, FINE, "init", NULL, "systemd, and the units are installed");
  else
    find (r, WARNING, "init", "install the units and systemctl daemon-reload",
          "systemd runs, but does not know " SWAP_UNIT);
}

int
cmd_check (struct options *o)
{
  const bool unit = service_has_unit ();
  struct report r = { 0 };
  struct server s = { .pid = 0 };
  struct json j;
  bool answers;

  if (o->json) {
    json_begin (&j);
    json_add_number (&j, "schema", 1);
    json_add_array (&j, "findings");
    r.json = &j;
  }
  answers =
      server_probe (conf_text (&o->conf, CONF_SOCKET), 1000, &s) == PROBE_OK;
  check_conf (&r, o);
  check_kernel (&r);
  check_programs (&r);
  check_gpu (&r, &o->conf, answers ? &s : NULL);
  check_limits (&r, &o->conf, unit);
  check_memory_limits (&r, answers ? s.pid : 0, unit);
  check_swaps (&r, &o->conf);
  check_sysctls (&r);
  check_sleep (&r, &o->conf);
  check_unit (&r, unit);
  if (o->json) {
    json_close (&j);
    json_add_number (&j, "problems", r.problems);
    json_add_number (&j, "warnings", r.warnings);
    json_print (&j, stdout);
  }
  else
    printf ("%u problem%s, %u warning%s\n", r.problems,
            r.problems == 1 ? "" : "s", r.warnings, r.warnings == 1 ? "" : "s");
  return r.problems ? EXIT_PROBLEM : EXIT_OK;
}
