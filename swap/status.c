/* nbdkit-vram: vram-swap status
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capacity.h"
#include "gpu.h"
#include "json.h"
#include "kernel-log.h"
#include "meminfo.h"
#include "msg.h"
#include "nbd-device.h"
#include "nvml.h"
#include "options.h"
#include "outage.h"
#include "power.h"
#include "procmem.h"
#include "root.h"
#include "run.h"
#include "server.h"
#include "swaps.h"

#define WATCH_MS 2000
#define PROBE_MS 2000

/* All that there is to say, gathered before a word of it is said. */
struct picture {
  struct state st;
  int device; /* N of /dev/nbdN, or -1 */
  char path[32];
  const struct swap *swap; /* ours, in swaps, or NULL */
  struct swaps swaps;
  struct meminfo mem;
  struct capacity capacity;
  enum probe probe;
  bool answers;
  struct server server;
  enum way way;
  const char *why_way; /* not the window */
  bool has_procmem;
  struct procmem procmem;
  struct gpu gpu;
  char pci[24], power[24];
  int preserves;
  struct power mains;
  bool has_log;
  struct kernel_log log;
  bool has_outages;
  struct outages outages;
};

/* What the server does, by its own words: not what it was told to do. */
static void
look_at_way (struct picture *p)
{
  static const char *const reasons[] = {
    [PROBE_ABSENT] = "there is no server",
    [PROBE_SILENT] = "the server does not answer",
    [PROBE_BAD] = "the server hung up",
    [PROBE_FORBIDDEN] = "root may ask",
  };

  p->way = WAY_UNKNOWN;
  p->why_way = reasons[p->probe];
  if (!p->answers)
    return;
  p->way = server_way (&p->server, &p->why_way);
  if (p->way == WAY_UNKNOWN)
    p->why_way = "the server does not say";
}

/* A GPU is asked when the server keeps it awake, and only then. */
static void
gpu_look (struct picture *p)
{
  gpu_init (&p->gpu);
  if (!p->answers)
    gpu_find_asleep (p->pci, sizeof p->pci);
  else if (gpu_find_pci (p->server.description, p->pci, sizeof p->pci) &&
           gpu_is_awake (p->pci))
    nvml_ask (&p->gpu, p->pci);
  if (p->pci[0])
    gpu_power_state (p->pci, p->power, sizeof p->power);
}

static int
look (struct picture *p, const struct options *o)
{
  memset (p, 0, sizeof *p);
  state_read (&p->st);
  p->device = state_device (&p->st);
  if (swaps_read (&p->swaps) == -1 || meminfo_read (&p->mem) == -1)
    return -1;
  if (p->device >= 0) {
    snprintf (p->path, sizeof p->path, "/dev/nbd%d", p->device);
    p->swap = swaps_find (&p->swaps, p->path);
    p->has_log = kernel_log_read (&p->log, p->device, p->st.since);
    p->has_outages = outages_read (&p->outages);
  }
  if (p->swap && capacity_read (&p->capacity, p->path) == -1)
    return -1;

  p->probe = server_probe (root_path ("%s", conf_text (&o->conf, CONF_SOCKET)),
                           PROBE_MS, &p->server);
  p->answers = p->probe == PROBE_OK;
  look_at_way (p);
  if (p->answers && p->server.pid > 0)
    p->has_procmem = procmem_read (&p->procmem, p->server.pid);

  power_read (&p->mains);
  p->preserves = gpu_preserves ();
  gpu_look (p);
  return 0;
}

static const char *
state_name (const struct picture *p)
{
  return p->swap ? "up" : p->st.paused != PAUSED_NO ? "paused" : "down";
}

static const char *
kind_of (const struct picture *p, const struct swap *s)
{
  return s == p->swap                             ? "VRAM"
         : strncmp (s->path, "/dev/zram", 9) == 0 ? "zram"
         : s->is_file                             ? "file"
                                                  : "disk";
}

static void
print_memory_order (const struct picture *p)
{
  printf ("fills:     RAM (%s of %s available)\n", human (p->mem.available),
          human (p->mem.total));
  for (size_t i = 0; i < p->swaps.n; i++) {
    const struct swap *s = &p->swaps.swap[i];

    printf ("           %s %s, %s of %s used, priority %d%s\n",
            i > 0 && s[-1].priority == s->priority ? "along with" : "then",
            kind_of (p, s), human (s->used), human (s->size), s->priority,
            s == p->swap ? "  <- this" : "");
  }
}

static void
print_way (const struct picture *p)
{
  static const char *const words[] = {
    [WAY_UNKNOWN] = "not known: ",
    [WAY_WINDOW] = "by the window, and by DMA where that is faster",
    [WAY_DMA] = "by DMA alone: ",
    [WAY_NONE] = "FAIL: ",
  };

  printf ("copies:    %s%s\n", words[p->way],
          p->way == WAY_WINDOW ? "" : p->why_way);
}

static void
print_server (const struct picture *p)
{
  const struct procmem *r = &p->procmem;
  const char *copies = strstr (p->server.description, SERVER_COPIES);
  size_t n = copies ? (size_t) (copies - p->server.description)
                    : strlen (p->server.description);

  if (!p->answers) {
    printf ("server:    %s\n", p->probe == PROBE_FORBIDDEN
                                   ? "not known (root may ask)"
                               : p->device >= 0 ? "DOES NOT ANSWER"
                                                : "not there");
    /* Where there need be no server, that says it all. */
    if (p->device >= 0)
      print_way (p);
    return;
  }
  printf ("server:    %s%s%.*s", human (p->server.size), n > 0 ? ", " : "",
          (int) n, p->server.description);
  if (p->server.pid > 0)
    printf (", process %ld", (long) p->server.pid);
  printf ("\n");
  print_way (p);
  if (p->has_procmem)
    /* What is locked on fault counts as locked before it is resident. */
    printf ("residency: %s resident, %s locked, %s swapped out%s, IO_FLUSHER "
            "on %u of %u threads, OOM score %d\n",
            human (r->resident),
            r->locked >= r->resident ? "all of it" : human (r->locked),
            human (r->swapped), r->swapped > 0 ? " (!)" : "", r->io_flushers,
            r->threads, r->oom_score_adj);
}

static void
print_gpu (const struct picture *p)
{
  char load[128];

  if (p->gpu.known)
    printf ("GPU:       %s, %s, driver %s: VRAM %s, %s used, %s free\n",
            p->gpu.name, p->gpu.pci, p->gpu.driver, human (p->gpu.total),
            human (p->gpu.used), human (p->gpu.free));
  else if (p->pci[0] && !p->answers)
    printf ("GPU:       %s is asleep\n", p->pci);
  gpu_load_text (&p->gpu, load, sizeof load);
  if (load[0])
    printf ("           %s\n", load);
  if (p->power[0] || p->preserves >= 0)
    printf ("power:     GPU %s; VRAM is %spreserved over suspend\n",
            p->power[0] ? p->power : "not known",
            p->preserves > 0 ? "" : "not ");
}

static void
print_log (const struct picture *p)
{
  long errors = kernel_log_errors (&p->log), lost = p->log.connections;

  if (!p->has_log) {
    printf ("errors not known (root may look)\n");
    return;
  }
  printf ("%ld error%s", errors, errors == 1 ? "" : "s");
  if (lost > 0)
    printf (" (%ld message%s of the kernel's about lost or late connections)",
            lost, lost == 1 ? "" : "s");
  printf ("\n");
}

static void
print_policy (const struct picture *p, const struct options *o)
{
  printf ("policy:    power %s (on %s",
          conf_text (&o->conf, CONF_POWER_POLICY),
          p->mains.on_battery ? "battery" : "mains");
  if (p->mains.charge >= 0)
    printf (", charge %d %%", p->mains.charge);
  printf ("), sleep %s, idle-down %s\n",
          conf_text (&o->conf, CONF_SLEEP_POLICY),
          conf_text (&o->conf, CONF_IDLE_DOWN));
}

static void
print_text (const struct picture *p, const struct options *o)
{
  char text[512];

  printf ("VRAM swap: %s", state_name (p));
  if (p->swap)
    printf (", %s of %s used, since %lld min", human (p->swap->used),
            human (p->swap->size), (now_ms () - p->st.since) / 60000);
  else if (p->st.paused != PAUSED_NO)
    printf (" by the %s policy", paused_name (p->st.paused));
  printf ("\n");
  print_gpu (p);
  print_server (p);
  if (p->device >= 0) {
    printf ("device:    %s, %u connection%s, ", p->path, p->st.connections,
            p->st.connections == 1 ? "" : "s");
    if (p->st.timeout)
      printf ("timeout %u s, ", p->st.timeout);
    else
      printf ("no timeout, ");
    print_log (p);
  }
  if (p->has_outages && p->outages.count > 0)
    printf ("outages:   %lld time%s the server was replaced, the last took "
            "%lld ms (%lld min ago), the longest %lld ms\n",
            (long long) p->outages.count, p->outages.count == 1 ? "" : "s",
            (long long) p->outages.last_ms,
            (now_ms () - (long long) p->outages.last_at) / 60000,
            (long long) p->outages.longest_ms);
  print_memory_order (p);
  if (p->swap && !p->capacity.fits) {
    capacity_explain (&p->capacity, p->path, text, sizeof text);
    printf ("down:      would be refused: %s\n", text);
  }
  else if (p->swap)
    printf ("down:      possible (%s is in it, %s would fit elsewhere)\n",
            human (p->capacity.need), human (capacity_total (&p->capacity)));
  print_policy (p, o);
}

/* Negative is not known. */
static void
json_known (struct json *j, const char *name, int64_t n)
{
  if (n < 0)
    json_add_null (j, name);
  else
    json_add_number (j, name, n);
}

static void
json_text (struct json *j, const char *name, const char *text)
{
  if (text[0])
    json_add_string (j, name, text);
  else
    json_add_null (j, name);
}

static void
json_server (struct json *j, const struct picture *p)
{
  const int64_t generation = server_generation (&p->server);

  json_add_object (j, "server");
  json_add_bool (j, "answers", p->answers);
  if (p->answers) {
    json_add_number (j, "size", p->server.size);
    json_text (j, "description", p->server.description);
    json_known (j, "pid", p->server.pid > 0 ? p->server.pid : -1);
    json_known (j, "generation",
                generation > 0 ? generation : -1); /* it does not say */
  }
  if (p->way == WAY_UNKNOWN)
    json_add_null (j, "window");
  else
    json_add_bool (j, "window", p->way == WAY_WINDOW);
  json_text (j, "window_reason", p->why_way);
  if (p->has_procmem) {
    json_add_number (j, "resident", p->procmem.resident);
    json_add_number (j, "locked", p->procmem.locked);
    json_add_number (j, "swapped", p->procmem.swapped);
    json_add_number (j, "oom_score_adj", p->procmem.oom_score_adj);
    json_add_number (j, "threads", p->procmem.threads);
    json_add_number (j, "io_flushers", p->procmem.io_flushers);
  }
  json_close (j);
}

static void
json_gpu (struct json *j, const struct picture *p)
{
  json_add_object (j, "gpu");
  json_text (j, "name", p->gpu.name);
  json_text (j, "pci", p->pci);
  json_text (j, "driver", p->gpu.driver);
  json_known (j, "vram_total", p->gpu.known ? p->gpu.total : -1);
  json_known (j, "vram_used", p->gpu.known ? p->gpu.used : -1);
  json_known (j, "vram_free", p->gpu.known ? p->gpu.free : -1);
  json_text (j, "power", p->power);
  json_known (j, "power_mw", p->gpu.power_mw);
  json_known (j, "sm_mhz", p->gpu.sm_mhz);
  json_known (j, "memory_mhz", p->gpu.memory_mhz);
  json_known (j, "performance_state", p->gpu.performance_state);
  if (p->preserves < 0)
    json_add_null (j, "preserves_vram");
  else
    json_add_bool (j, "preserves_vram", p->preserves);
  json_close (j);
}

static void
print_json (const struct picture *p, const struct options *o)
{
  struct json j;

  json_begin (&j);
  json_add_number (&j, "schema", 1);
  json_add_string (&j, "state", state_name (p));
  json_add_string (&j, "paused_by", paused_name (p->st.paused));

  if (p->device >= 0) {
    json_add_object (&j, "device");
    json_add_string (&j, "path", p->path);
    json_add_number (&j, "connections", p->st.connections);
    json_add_number (&j, "timeout", p->st.timeout);
    json_known (&j, "errors", p->has_log ? kernel_log_errors (&p->log) : -1);
    json_known (&j, "connection_messages",
                p->has_log ? p->log.connections : -1);
    json_close (&j);
  }
  else
    json_add_null (&j, "device");

  if (p->swap) {
    json_add_object (&j, "swap");
    json_add_number (&j, "size", p->swap->size);
    json_add_number (&j, "used", p->swap->used);
    json_add_number (&j, "priority", p->swap->priority);
    json_add_number (&j, "seconds", (now_ms () - p->st.since) / 1000);
    json_add_bool (&j, "fits_elsewhere", p->capacity.fits);
    json_add_number (&j, "room_elsewhere", capacity_total (&p->capacity));
    json_close (&j);
  }
  else
    json_add_null (&j, "swap");

  if (p->has_outages) {
    json_add_object (&j, "outages");
    json_add_number (&j, "count", p->outages.count);
    json_add_number (&j, "last_ms", p->outages.last_ms);
    json_add_number (&j, "longest_ms", p->outages.longest_ms);
    json_close (&j);
  }
  else
    json_add_null (&j, "outages");

  json_server (&j, p);
  json_gpu (&j, p);

  json_add_object (&j, "memory");
  json_add_number (&j, "total", p->mem.total);
  json_add_number (&j, "available", p->mem.available);
  json_close (&j);

  /* In the order in which the kernel fills them. */
  json_add_array (&j, "swaps");
  for (size_t i = 0; i < p->swaps.n; i++) {
    const struct swap *s = &p->swaps.swap[i];

    json_add_object (&j, NULL);
    json_add_string (&j, "path", s->path);
    json_add_string (&j, "kind", kind_of (p, s));
    json_add_number (&j, "size", s->size);
    json_add_number (&j, "used", s->used);
    json_add_number (&j, "priority", s->priority);
    json_close (&j);
  }
  json_close (&j);

  json_add_object (&j, "policy");
  json_add_string (&j, "power", conf_text (&o->conf, CONF_POWER_POLICY));
  json_add_string (&j, "sleep", conf_text (&o->conf, CONF_SLEEP_POLICY));
  json_add_number (&j, "idle_down", conf_number (&o->conf, CONF_IDLE_DOWN));
  json_close (&j);

  json_add_object (&j, "power");
  json_add_bool (&j, "on_battery", p->mains.on_battery);
  json_known (&j, "charge", p->mains.charge);
  json_close (&j);
  json_print (&j, stdout);
}

int
cmd_status (struct options *o)
{
  struct picture p;

  for (;;) {
    if (look (&p, o) == -1)
      return EXIT_FAILED;
    if (o->json)
      print_json (&p, o);
    else {
      if (o->watch && isatty (STDOUT_FILENO))
        fputs ("\033[H\033[2J", stdout);
      print_text (&p, o);
      if (o->watch && !isatty (STDOUT_FILENO))
        putchar ('\n');
    }
    if (output_flush () == -1)
      return EXIT_FAILED;
    if (!o->watch)
      return p.swap ? EXIT_OK : EXIT_OFF;
    if (!pause_ms (WATCH_MS))
      return EXIT_OK;
  }
}
