/* nbdkit-vram: vram-swap status
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What the daemon knows, and beside it what the system says.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capacity.h"
#include "client.h"
#include "disk/superblock.h"
#include "elastic.h"
#include "gpu.h"
#include "json.h"
#include "meminfo.h"
#include "msg.h"
#include "nbd-device.h"
#include "nvml.h"
#include "options.h"
#include "power.h"
#include "procmem.h"
#include "root.h"
#include "run.h"
#include "runstate.h"
#include "swaps.h"

#define WATCH_MS 2000

/* All that there is to say, gathered before a word of it is said. */
struct snapshot {
  struct json_t
      *answer;    /* the daemon's, NULL when none runs or it is silent */
  bool forbidden; /* to ask it */
  char state[16], cause[16], reason[256];
  int64_t device; /* N of /dev/nbdN, or -1 */
  int64_t connections, timeout, since_ms;
  int64_t outages, outage_last_ms, outage_longest_ms, outage_ago_ms, outage_ms;

  const struct json_t *server, *elastic; /* in the answer */
  int64_t pid, generation, copy_path, lost_ms, size, used;
  bool ready, lost, known; /* that there is a disk */
  bool driver_replaced;
  const char *copy_reason, *gpu_name, *pci;

  const struct swap *swap; /* ours, in swaps, or NULL */
  struct swaps swaps;
  struct meminfo mem;
  struct capacity capacity;
  bool has_procmem;
  struct procmem procmem;
  struct gpu gpu;
  bool asleep; /* gpu.pci is */
  char power[24];
  int preserves;
  struct power mains;
};

/* Without a daemon: what the last one has left. */
static void
read_file (struct snapshot *p)
{
  struct runstate st;

  const bool old = !runstate_read (&st) && runstate_read_old (&st);

  p->device = runstate_device (&st);
  snprintf (p->state, sizeof p->state, "%s",
            state_name (p->device < 0 ? STATE_OFF
                        : old         ? STATE_ON
                                      : STATE_FAILED));
  snprintf (p->cause, sizeof p->cause, "%s", cause_name (st.cause));
  snprintf (p->reason, sizeof p->reason, "%s",
            st.reason[0] ? st.reason
            : p->device >= 0 && old
                ? "kept by an earlier version of vram-swap; "
                  "'systemctl restart vram-swap' empties it "
                  "and goes on with this version"
            : p->device >= 0            ? "the daemon does not run"
            : st.cause == CAUSE_END     ? "the service was stopped"
            : st.cause == CAUSE_REQUEST ? "could not be switched on"
                                        : "the daemon does not run");
  p->connections = st.connections;
  p->timeout = st.timeout;
}

static void
read_answer (struct snapshot *p)
{
  const struct json_t *a = p->answer;
  int64_t n;

  snprintf (p->state, sizeof p->state, "%s",
            json_string_or_empty (a, "state"));
  snprintf (p->cause, sizeof p->cause, "%s",
            json_string_or_empty (a, "cause"));
  snprintf (p->reason, sizeof p->reason, "%s",
            json_string_or_empty (a, "reason"));
  p->device = json_number_or_0 (a, "device");
  p->connections = json_number_or_0 (a, "connections");
  p->timeout = json_number_or_0 (a, "timeout");
  p->since_ms = json_number_or_0 (a, "since_ms");
  p->outages = json_number_or_0 (a, "outages");
  p->outage_last_ms = json_number_or_0 (a, "outage_last_ms");
  p->outage_longest_ms = json_number_or_0 (a, "outage_longest_ms");
  p->outage_ago_ms = json_number_or_0 (a, "outage_ago_ms");
  p->outage_ms = json_number_or_0 (a, "outage_ms");
  p->server = json_get_object (a, "server");
  p->elastic = p->server ? json_get_object (p->server, "elastic") : NULL;
  p->pid = json_number_or_0 (p->server, "pid");
  p->known = p->server && json_get_number (p->server, "generation", &n);
  p->generation = json_number_or_0 (p->server, "generation");
  p->copy_path = json_number_or_0 (p->server, "copy_path");
  p->lost_ms = json_number_or_0 (p->server, "lost_ms");
  p->size = json_number_or_0 (p->server, "size");
  p->used = json_number_or_0 (p->server, "used");
  if (p->server) {
    json_get_bool (p->server, "ready", &p->ready);
    json_get_bool (p->server, "lost", &p->lost);
  }
  p->copy_reason = json_string_or_empty (p->server, "copy_reason");
  p->gpu_name = json_string_or_empty (p->server, "gpu");
  p->pci = json_string_or_empty (p->server, "pci");
}

/* A GPU is asked when the server keeps it awake, and only then. */
static void
look_at_gpu (struct snapshot *p)
{
  gpu_init (&p->gpu);
  if (p->pci[0])
    snprintf (p->gpu.pci, sizeof p->gpu.pci, "%s", p->pci);
  else
    p->asleep = gpu_find_asleep (p->gpu.pci, sizeof p->gpu.pci);
  if (p->ready && p->pci[0] && gpu_is_awake (p->pci))
    nvml_ask (&p->gpu, p->pci);
  if (p->gpu.pci[0])
    gpu_power_state (p->gpu.pci, p->power, sizeof p->power);
}

/* Whether NVIDIA's library was replaced since the server has loaded it.  Only
 * root may look.
 */
static bool
driver_was_replaced (pid_t server)
{
  FILE *f = fopen (root_path ("/proc/%ld/maps", (long) server), "re");
  char line[512];
  bool replaced = false;

  while (f && !replaced && fgets (line, sizeof line, f))
    replaced = strstr (line, "/libcuda.so") && strstr (line, " (deleted)\n");
  if (f)
    fclose (f);
  return replaced;
}

static int
look (struct snapshot *p)
{
  memset (p, 0, sizeof *p);
  p->copy_reason = p->gpu_name = p->pci = "";
  p->answer = client_get ("status");
  p->forbidden = !p->answer && errno == EACCES;
  if (p->answer)
    read_answer (p);
  else
    read_file (p);
  if (swaps_read (&p->swaps) == -1 || meminfo_read (&p->mem) == -1)
    return -1;
  if (p->device >= 0)
    p->swap = nbd_find_swap (&p->swaps, p->device);
  if (p->swap && capacity_read (&p->capacity, p->swap->path) == -1)
    return -1;
  if (p->pid > 0) {
    p->has_procmem = procmem_read (&p->procmem, p->pid);
    p->driver_replaced = driver_was_replaced (p->pid);
  }
  power_read (&p->mains);
  p->preserves = gpu_preserves ();
  look_at_gpu (p);
  return 0;
}

static const char *
kind_of (const struct snapshot *p, const struct swap *s)
{
  return s == p->swap                             ? "VRAM"
         : strncmp (s->path, "/dev/zram", 9) == 0 ? "zram"
         : s->is_file                             ? "file"
                                                  : "disk";
}

static void
print_memory_order (const struct snapshot *p)
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
print_copies (const struct snapshot *p)
{
  if (p->lost)
    printf ("copies:    FAIL: the GPU is lost since %" PRId64 " s\n",
            p->lost_ms / 1000);
  else if (p->copy_path == COPY_PATH_MAPPING)
    printf ("copies:    by the window, and by DMA where that is faster\n");
  else if (p->copy_path == COPY_PATH_DMA)
    printf ("copies:    by DMA alone: %s\n", p->copy_reason);
  else if (p->known)
    printf ("copies:    not known: the server does not say\n");
}

static void
print_server (const struct snapshot *p)
{
  const struct procmem *r = &p->procmem;

  if (p->pid <= 0) {
    if (p->forbidden)
      printf ("server:    not known (root and group vram-swap may ask)\n");
    else
      printf ("server:    none\n");
    return;
  }
  printf ("server:    process %" PRId64 "%s", p->pid,
          p->ready ? "" : ", NOT READY");
  if (p->known)
    printf (", number %" PRId64 " of this disk, %s, %s of it in use",
            p->generation, human (p->size), human (p->used));
  if (p->gpu_name[0])
    printf (", VRAM of %s, %s", p->gpu_name, p->pci);
  printf ("\n");
  elastic_print (p->elastic);
  print_copies (p);
  if (p->driver_replaced)
    printf ("driver:    was updated since this server started, which goes on "
            "with the old one; a new server may need a reboot\n");
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
print_gpu (const struct snapshot *p)
{
  char load[128];

  if (p->gpu.known)
    printf ("GPU:       %s, %s, driver %s: VRAM %s, %s used, %s free\n",
            p->gpu.name, p->gpu.pci, p->gpu.driver, human (p->gpu.total),
            human (p->gpu.used), human (p->gpu.free));
  else if (p->asleep)
    printf ("GPU:       %s is asleep\n", p->gpu.pci);
  gpu_load_text (&p->gpu, load, sizeof load);
  if (load[0])
    printf ("           %s\n", load);
  if (p->power[0] || p->preserves >= 0)
    printf ("power:     GPU %s; VRAM is %spreserved over suspend\n",
            p->power[0] ? p->power : "not known",
            p->preserves > 0 ? "" : "not ");
}

static void
print_policy (const struct snapshot *p, const struct options *o)
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
print_device (const struct snapshot *p)
{
  if (p->device < 0)
    return;
  printf ("device:    /dev/nbd%" PRId64 ", %" PRId64 " connection%s, ",
          p->device, p->connections, p->connections == 1 ? "" : "s");
  if (p->timeout)
    printf ("timeout %" PRId64 " s\n", p->timeout);
  else
    printf ("no timeout\n");
}

static void
print_text (const struct snapshot *p, const struct options *o)
{
  char device[32], text[512];

  printf ("VRAM swap: %s", p->state);
  if (p->swap)
    printf (", %s of %s used, since %" PRId64 " min", human (p->swap->used),
            human (p->swap->size), p->since_ms / 60000);
  if (strcmp (p->state, state_name (STATE_PAUSED)) == 0)
    printf (" by the %s policy", p->cause);
  if (p->reason[0])
    printf (": %s", p->reason);
  printf ("\n");
  if (p->outage_ms > 0)
    printf ("           no server for %" PRId64 " ms: what is swapped out "
            "waits\n",
            p->outage_ms);
  print_gpu (p);
  print_server (p);
  print_device (p);
  if (p->outages > 0)
    printf ("outages:   %" PRId64 " time%s the server was replaced, the last "
            "took %" PRId64 " ms (%" PRId64 " min ago), the longest %" PRId64
            " ms\n",
            p->outages, p->outages == 1 ? "" : "s", p->outage_last_ms,
            p->outage_ago_ms / 60000, p->outage_longest_ms);
  print_memory_order (p);
  if (p->swap && !p->capacity.fits) {
    snprintf (device, sizeof device, "/dev/nbd%" PRId64, p->device);
    capacity_explain (&p->capacity, device, text, sizeof text);
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
json_server (struct json *j, const struct snapshot *p)
{
  static const char *const paths[] = {
    [COPY_PATH_MAPPING] = "mapping",
    [COPY_PATH_DMA] = "dma",
  };

  json_add_object (j, "server");
  json_add_bool (j, "ready", p->ready);
  json_known (j, "pid", p->pid > 0 ? p->pid : -1);
  json_known (j, "generation", p->known ? p->generation : -1);
  json_known (j, "size", p->known ? p->size : -1);
  json_known (j, "used", p->known ? p->used : -1);
  json_add_bool (j, "lost", p->lost);
  json_add_bool (j, "driver_replaced", p->driver_replaced);
  json_text (j, "copy_path",
             p->copy_path > 0 && p->copy_path <= COPY_PATH_DMA
                 ? paths[p->copy_path]
                 : "");
  json_text (j, "copy_reason", p->copy_reason);
  elastic_print_json (j, p->elastic);
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
json_gpu (struct json *j, const struct snapshot *p)
{
  json_add_object (j, "gpu");
  json_text (j, "name", p->gpu.known ? p->gpu.name : p->gpu_name);
  json_text (j, "pci", p->gpu.pci);
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
json_device (struct json *j, const struct snapshot *p)
{
  char path[32];

  if (p->device >= 0) {
    snprintf (path, sizeof path, "/dev/nbd%" PRId64, p->device);
    json_add_object (j, "device");
    json_add_string (j, "path", path);
    json_add_number (j, "connections", p->connections);
    json_add_number (j, "timeout", p->timeout);
    json_close (j);
  }
  else
    json_add_null (j, "device");
  if (p->swap) {
    json_add_object (j, "swap");
    json_add_number (j, "size", p->swap->size);
    json_add_number (j, "used", p->swap->used);
    json_add_number (j, "priority", p->swap->priority);
    json_add_number (j, "seconds", p->since_ms / 1000);
    json_add_bool (j, "fits_elsewhere", p->capacity.fits);
    json_add_number (j, "room_elsewhere", capacity_total (&p->capacity));
    json_close (j);
  }
  else
    json_add_null (j, "swap");
}

static int
print_json (const struct snapshot *p, const struct options *o)
{
  struct json j;

  json_begin (&j);
  json_add_number (&j, "schema", 2);
  json_add_string (&j, "state", p->state);
  json_add_string (&j, "cause", p->cause);
  json_text (&j, "reason", p->reason);
  json_add_bool (&j, "daemon", p->answer != NULL);
  json_device (&j, p);

  json_add_object (&j, "outages");
  json_add_number (&j, "count", p->outages);
  json_add_number (&j, "last_ms", p->outage_last_ms);
  json_add_number (&j, "longest_ms", p->outage_longest_ms);
  json_add_number (&j, "now_ms", p->outage_ms);
  json_close (&j);

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
  return json_print (&j, stdout);
}

int
cmd_status (struct options *o)
{
  static struct snapshot p;
  bool on;

  for (;;) {
    const bool known = look (&p) == 0;

    on = p.swap != NULL;
    if (!known) {
      json_free (p.answer);
      return EXIT_FAILED;
    }
    if (o->json)
      print_json (&p, o);
    else {
      if (o->watch && isatty (STDOUT_FILENO))
        fputs ("\033[H\033[2J", stdout);
      print_text (&p, o);
      if (o->watch && !isatty (STDOUT_FILENO))
        putchar ('\n');
    }
    json_free (p.answer);
    if (output_flush () == -1)
      return EXIT_FAILED;
    if (!o->watch)
      return on ? EXIT_OK : EXIT_OFF;
    if (!pause_ms (WATCH_MS))
      return EXIT_OK;
  }
}
