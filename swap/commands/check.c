/* nbdkit-vram: vram-swap check
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "findings.h"
#include "msg.h"
#include "nbd-device.h"
#include "options.h"
#include "root.h"
#include "run.h"
#include "server.h"

static void
check_conf (struct report *r, const struct options *o)
{
  const char *line = o->conf.errors;

  if (!o->conf_wrong)
    finding (r, FINE, "configuration", NULL, "%s",
             file_exists (o->conf.file) ? o->conf.file
                                        : "the defaults: no file");
  while (line) {
    size_t n = strcspn (line, "\n");

    finding (r, PROBLEM, "configuration",
             "correct it, see nbdkit-vram.conf(5); the service does not start "
             "before",
             "%.*s", (int) n, line);
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
    finding (r, FINE, "nbd driver", NULL, "loaded");
  else if (run (&m, argv, NULL, NULL) == 0)
    finding (r, FINE, "nbd driver", NULL, "available, loaded when needed");
  else {
    uname (&u);
    finding (r, PROBLEM, "nbd driver",
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
      finding (r, FINE, programs[i].name, NULL, "%s", path);
    else
      finding (r, PROBLEM, programs[i].name, programs[i].fix, "not installed");
}

static void
check_unit (struct report *r, bool unit)
{
  if (!file_exists (root_path ("/run/systemd/system")))
    finding (r, FINE, "init", NULL,
             "not systemd: it has to run 'vram-swap daemon'");
  else if (unit)
    finding (r, FINE, "init", NULL, "systemd, and the units are installed");
  else
    finding (r, WARNING, "init",
             "install the units and systemctl daemon-reload",
             "systemd runs, but does not know " SWAP_UNIT);
}

/* Whether systemd runs here and has our unit, wherever that lies. */
static bool
has_unit (void)
{
  static const char *const folders[] = {
    "/etc", "/run", "/usr/lib", "/usr/local/lib", "/lib",
  };

  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
    if (file_exists (root_path ("%s/systemd/system/" SWAP_UNIT, folders[i])))
      return file_exists (root_path ("/run/systemd/system"));
  return false;
}

int
cmd_check (struct options *o)
{
  const bool unit = has_unit ();
  struct report r = { 0 };
  struct server s = { .pid = 0 };
  struct json j;
  enum probe probe;

  if (o->json) {
    json_begin (&j);
    json_add_number (&j, "schema", 1);
    json_add_array (&j, "findings");
    r.json = &j;
  }
  probe = server_probe (conf_text (&o->conf, CONF_SOCKET), 1000, &s);
  check_conf (&r, o);
  check_kernel (&r);
  check_programs (&r);
  if (probe == PROBE_FORBIDDEN)
    finding (&r, WARNING, "server", "run this as root",
             "only root can check whether it is running");
  check_gpu (&r, &o->conf, probe == PROBE_OK ? &s : NULL);
  check_memory (&r, &o->conf, probe == PROBE_OK ? s.pid : 0, unit);
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
            r.problems == 1 ? "" : "s", r.warnings,
            r.warnings == 1 ? "" : "s");
  return r.problems ? EXIT_PROBLEM : EXIT_OK;
}
