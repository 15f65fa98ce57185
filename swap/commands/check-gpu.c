/* nbdkit-vram: vram-swap check: the GPU, its driver and the plugin
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capacity.h"
#include "client.h"
#include "findings.h"
#include "gpu.h"
#include "nvml.h"
#include "plugin-check.h"
#include "root.h"
#include "run.h"
#include "server-command.h"

/* Does the plugin start with these settings, as far as no GPU is needed? */
static bool
check_plugin (struct report *r, const struct conf *c)
{
  const char *plugin = conf_text (c, CONF_PLUGIN);
  struct run d;

  switch (plugin_check (c, &d)) {
  case PLUGIN_FINE:
    finding (r, FINE, "plugin", NULL, "nbdkit loads '%s', with these settings",
             plugin);
    return true;
  case PLUGIN_MISSING:
    finding (r, PROBLEM, "plugin",
             "install it where nbdkit looks, or set plugin= to its file",
             "nbdkit cannot load '%s': %s", plugin, run_reason (&d));
    break;
  case PLUGIN_OTHER:
    finding (r, PROBLEM, "plugin",
             strcmp (plugin, PLUGIN_NAME) == 0
                 ? "set plugin= to the file of nbdkit-vram's plugin"
                 : "set plugin = " PLUGIN_NAME,
             "nbdkit's '%s' is another plugin of that name", plugin);
    break;
  case PLUGIN_REFUSES:
    finding (r, PROBLEM, "plugin",
             "correct that setting, see nbdkit-vram.conf(5) and nbdkit(1)",
             "'%s' refuses the settings: %s", plugin, run_reason (&d));
    break;
  }
  return false;
}

/* Whether libcuda is there, is of the kernel module's version, and starts: D
 * is what nbdkit said when it tried.
 */
static bool
check_libcuda (struct report *r, const struct run *d)
{
  const char *error = gpu_dumped (d->output, "vram_error"), *version;
  char text[512], *fix;
  bool setting;

  if (error) {
    /* The last part of it is what to do. */
    snprintf (text, sizeof text, "%s", error);
    fix = strrchr (text, ';');
    if (fix) {
      *fix++ = '\0';
      fix += strspn (fix, " ");
    }
    /* Either the driver does not start, or a setting, "KEY=...", is wrong. */
    setting = text[strcspn (text, " =")] == '=';
    finding (r, PROBLEM, setting ? "GPU" : "libcuda",
             fix       ? fix
             : setting ? "correct the setting, see nbdkit-vram.conf(5)"
                       : "nvidia-smi and the kernel's log may say more",
             "%s", text);
    return false;
  }
  version = gpu_dumped (d->output, "vram_cuda_version");
  if (!version) {
    finding (
        r, WARNING, "libcuda",
        "set plugin= to the file of nbdkit-vram's plugin, unless another one "
        "is intended",
        "the plugin is not nbdkit-vram's: it and the GPU cannot be checked");
    return false;
  }
  finding (r, FINE, "libcuda", NULL, "starts, for CUDA %s", version);
  return true;
}

/* Where programs see only what they were given. */
static bool
is_container (void)
{
  return file_exists (root_path ("/run/systemd/container")) ||
         file_exists (root_path ("/run/.containerenv")) ||
         file_exists (root_path ("/.dockerenv"));
}

static void
check_nodes (struct report *r)
{
  static const char *const nodes[] = { "/dev/nvidiactl", "/dev/nvidia-uvm" };
  char path[512];

  for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
    if (file_exists (root_path ("%s", nodes[i])))
      finding (r, FINE, nodes[i], NULL, "exists");
    else if (is_container ())
      finding (r, PROBLEM, nodes[i],
               "start the container with all of NVIDIA's device nodes "
               "(--gpus all, or --device for each)",
               "missing in this container");
    else if (run_find ("nvidia-modprobe", path, sizeof path))
      finding (r, FINE, nodes[i], NULL,
               "created by nvidia-modprobe when needed");
    else
      finding (r, PROBLEM, nodes[i], "install nvidia-modprobe",
               "missing, and nvidia-modprobe is not installed");
}

static void
check_bar (struct report *r, const struct gpu *g)
{
  int64_t bar = gpu_largest_bar (g->pci);

  if (bar < 0 || g->total < 0)
    return;
  if (bar >= g->total)
    finding (r, FINE, "Resizable BAR", NULL, "on: all of %s can be mapped",
             human (g->total));
  else
    finding (r, WARNING, "Resizable BAR",
             "switch on Above 4G Decoding and Resizable BAR in the firmware's "
             "setup",
             "only %s of %s can be mapped: pages beyond that go by DMA, "
             "several times slower",
             human (bar), human (g->total));
}

static void
check_vram (struct report *r, const struct conf *c, const struct gpu *g,
            const struct server *s)
{
  int64_t least = conf_number (c, CONF_MIN_SIZE), keep = server_headroom (c);

  if (s)
    finding (r, FINE, "VRAM", NULL, "the server has %s already",
             human (s->size));
  else if (g->free == -1)
    finding (r, WARNING, "VRAM", "nvidia-smi may say more",
             "%s does not report how much is free", g->name);
  else if (g->free - keep >= least)
    finding (r, FINE, "VRAM", NULL, "%s of %s are free on %s", human (g->free),
             human (g->total), g->name);
  else
    finding (r, PROBLEM, "VRAM",
             "stop programs that use VRAM, or lower min-size= or headroom=",
             "%s are free on %s: less than min-size (%s) and headroom (%s)",
             human (g->free), g->name, human (least), human (keep));
}

/* Whether data can give way to other programs.  DUMP is what the plugin says.
 */
static void
check_spill (struct report *r, const struct conf *c, const char *dump)
{
  const char *folder = conf_text (c, CONF_SPILL), *reason;

  if (conf_is (c, CONF_ELASTIC, "no") || !gpu_dumped (dump, "vram_spill"))
    return;
  reason = gpu_dumped (dump, "vram_spill_reason");
  if (!reason)
    finding (r, FINE, "spill file", NULL, "can be made in %s", folder);
  else if (conf_is (c, CONF_SPILL, CONF_SPILL_FOLDER) &&
           !file_exists (root_path (CONF_SPILL_FOLDER)))
    finding (r, FINE, "spill file", NULL,
             "%s does not exist yet; the service makes it", folder);
  else
    finding (r, WARNING, "spill file",
             "set spill= to a folder on ext4 or XFS with room, which the "
             "server's user can write to, or to none",
             "cannot be made, so data stays in VRAM: %s", reason);
}

/* A driver that keeps the clocks up for as long as CUDA is in use. */
static void
check_rest (struct report *r, const char *version)
{
  if (gpu_driver_can_rest (version))
    finding (r, FINE, "quiet", NULL,
             "driver %s lets the clocks fall while the server is idle",
             version);
  else
    finding (r, WARNING, "quiet",
             "update the driver to 580.105.08 or newer, or set idle-down=",
             "driver %s keeps the clocks up while the server is idle, which "
             "costs power (it ignores CUDA_DISABLE_PERF_BOOST)",
             version);
}

/* Whether the clocks of the server's GPU stay up while the GPU is idle. */
static void
check_clocks (struct report *r)
{
  struct gpu g;
  struct json_t *answer = client_get ("status");
  const char *pci = json_text (json_get (answer, "server"), "pci");
  const bool known = pci[0] && gpu_is_awake (pci) && nvml_ask (&g, pci) &&
                     g.sm_mhz >= 0 && g.sm_max_mhz > 0 && g.busy_percent >= 0;
  char load[128];

  json_free (answer);
  if (!known)
    return;
  gpu_load_text (&g, load, sizeof load);
  if (g.busy_percent == 0 && g.sm_mhz >= g.sm_max_mhz / 3 * 2 &&
      gpu_driver_can_rest (g.driver))
    finding (r, WARNING, "clocks",
             "end other programs that use CUDA (nvidia-smi lists them), or "
             "nvidia-smi --reset-gpu-clocks",
             "%s, although the GPU is idle: another program than the server "
             "keeps them up",
             load);
  else
    finding (r, FINE, "clocks", NULL, "%s, %d %% busy", load, g.busy_percent);
}

static void
check_display (struct report *r, const struct conf *c, const struct gpu *g)
{
  const int64_t gib = INT64_C (1) << 30, quarter = g->total / 4;
  const int64_t keep = server_headroom (c),
                wanted = quarter < 2 * gib ? quarter : 2 * gib;
  char connector[64];

  if (!gpu_drives_display (g->pci, connector, sizeof connector))
    return;
  if (g->total >= 0 && keep < wanted)
    finding (r, WARNING, "display",
             "set headroom= to 2G, or to a quarter of "
             "the VRAM of a small GPU",
             "%s drives %s, and headroom is %s: desktops may die when VRAM is "
             "full",
             g->name, connector, human (keep));
  else
    finding (r, FINE, "display", NULL, "%s drives %s, and headroom is %s",
             g->name, connector, human (keep));
}

/* Why the kernel loads signed modules only, or NULL where it loads all. Secure
 * Boot usually comes with lockdown.
 */
static const char *
signatures_required (void)
{
  static const char secure_boot[] =
      "/sys/firmware/efi/efivars/"
      "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
  char text[64];
  long n = read_text (root_path ("/sys/kernel/security/lockdown"), text,
                      sizeof text);

  if (n > 0 && !strstr (text, "[none]"))
    return "kernel lockdown (Secure Boot)";
  if (read_text (root_path ("/sys/module/module/parameters/sig_enforce"), text,
                 sizeof text) > 0 &&
      text[0] == 'Y')
    return "module.sig_enforce";
  /* Four bytes of attributes, then the value. */
  if (n <= 0 && read_text (root_path (secure_boot), text, sizeof text) == 5 &&
      text[4] == 1)
    return "Secure Boot";
  return NULL;
}

/* Modules that are installed and that the kernel may refuse to load. */
static void
check_signatures (struct report *r)
{
  static const char *const modules[] = { "nvidia", "nbd" };
  const char *why = signatures_required ();
  bool found = false;

  for (size_t i = 0; why && i < sizeof modules / sizeof modules[0]; i++) {
    const char *argv[] = { "modinfo", "-F", "signer", modules[i], NULL };
    struct run m = { .limit = 10 };

    if (file_exists (root_path ("/sys/module/%s", modules[i])) ||
        run (&m, argv, NULL, NULL) == -1)
      continue;
    /* nbd is loaded when needed, and signed with the kernel's own key. */
    if (m.output[0] && strcmp (modules[i], "nbd") == 0)
      continue;
    found = true;
    finding (r, m.output[0] ? WARNING : PROBLEM, "module signatures",
             "sign it with a key that the firmware knows (mokutil --import), "
             "or switch Secure Boot off",
             "%s: %s is not loaded, and %s%s", why, modules[i],
             m.output[0] ? "is signed by " : "not signed", m.output);
  }
  if (!found)
    finding (r, FINE, "module signatures", NULL, "%s",
             why ? why : "not required");
}

/* The driver's module, when libcuda WORKS or not. */
static void
check_module (struct report *r, bool works)
{
  char module[64];

  if (gpu_module_version (module, sizeof module)) {
    finding (r, FINE, "NVIDIA driver", NULL, "%s is loaded", module);
    check_nodes (r);
  }
  else if (works)
    finding (r, FINE, "NVIDIA driver", NULL,
             gpu_is_wsl () ? "that of Windows (WSL2)"
                           : "no kernel module here, but libcuda works");
  else if (gpu_is_wsl ())
    finding (r, PROBLEM, "NVIDIA driver",
             "update the driver in Windows, and run wsl --update",
             "libcuda does not work with Windows' driver (WSL2)");
  else
    finding (r, PROBLEM, "NVIDIA driver",
             "install NVIDIA's driver; after an installation or a kernel "
             "update, reboot",
             "its kernel module is not loaded");
}

/* Has the device nodes made, as the server's unit does.  libcuda does it where
 * it may become root, which plugin_dump does not let it.
 */
static void
make_nodes (void)
{
  const char *argv[] = { "nvidia-modprobe", "-c", "0", "-u", NULL };
  struct run m = { .limit = 30 };

  if (geteuid () == 0 && file_exists (root_path ("/sys/module/nvidia")) &&
      !file_exists (root_path ("/dev/nvidia-uvm")))
    run (&m, argv, NULL, NULL);
}

/* What only a GPU that is awake can tell.  S is the server, or NULL. */
static bool
check_awake (struct report *r, const struct conf *c, const struct server *s)
{
  const char *version;
  struct run d;
  struct gpu g;

  make_nodes ();
  if (!plugin_dump (c, &d)) {
    finding (r, PROBLEM, "device",
             "set device= to one of those that 'nbdkit " PLUGIN_NAME
             " --dump-plugin' lists",
             "%s", run_reason (&d));
    return false;
  }
  if (!check_libcuda (r, &d))
    return false;
  if (!gpu_of_dump (&g, d.output)) {
    finding (r, PROBLEM, "device",
             "set device= to one of those that 'nbdkit " PLUGIN_NAME
             " --dump-plugin' lists",
             "%s", run_reason (&d));
    return true;
  }
  finding (r, FINE, "device", NULL, "%s, %s", g.name, g.pci);
  check_bar (r, &g);
  check_vram (r, c, &g, s);
  if (!s)
    check_spill (r, c, d.output);
  check_display (r, c, &g);
  version = gpu_dumped (d.output, "vram_driver_version");
  if (version && strchr (version, '.'))
    check_rest (r, version);
  return true;
}

void
check_gpu (struct report *r, const struct conf *c, const struct server *s)
{
  const bool plugin = check_plugin (r, c);
  bool works = false;
  char pci[24];

  if (gpu_find_asleep (pci, sizeof pci)) {
    works = true;
    finding (r, FINE, "GPU", NULL,
             "%s is asleep and is not woken up: libcuda, device and VRAM are "
             "not checked",
             pci);
  }
  else if (plugin)
    works = check_awake (r, c, s);
  if (s)
    check_clocks (r);
  check_module (r, works);
  check_signatures (r);
}
