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
  struct json_t *answer;  /* the daemon's, or what the last one has left */
  bool daemon, forbidden; /* one answered; it may not be asked */
  const struct json_t *server; /* in the answer */
  int64_t device;              /* N of /dev/nbdN, or -1 */
  int64_t pid;                 /* of the server, or 0 */
  const char *pci;
  bool driver_replaced;

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

/* Without a daemon: why there is no swap, or none that works. */
static const char *
find_reason (const struct runstate *st, int device, bool old)
{
  if (st->reason[0])
    return st->reason;
  if (device >= 0 && old)
    return "kept by an earlier version of vram-swap; 'systemctl restart "
           "vram-swap' empties it and starts this version";
  if (device < 0 && st->cause == CAUSE_END)
    return "the service was stopped";
  if (device < 0 && st->cause == CAUSE_REQUEST)
    return "could not be switched on";
  return "the daemon is not running";
}

static enum state
find_state (int device, bool old)
{
  return device < 0 ? STATE_OFF : old ? STATE_ON : STATE_FAILED;
}

/* What the daemon has written for the next one.  RUNS: there is a daemon,
 * which may not be asked.  Otherwise it has ended.
 */
static struct json_t *
answer_of_file (bool runs)
{
  struct runstate st;
  const bool old = !runstate_read (&st) && runstate_read_old (&st);
  const int device = runstate_device (&st);
  char text[2048];
  struct json j;
  long n;

  json_begin (&j);
  json_add_string (&j, "state",
                   state_name (runs ? st.state : find_state (device, old)));
  json_add_string (&j, "cause", cause_name (st.cause));
  json_add_string (&j, "reason",
                   runs ? st.reason : find_reason (&st, device, old));
  json_add_number (&j, "device", device);
  json_add_number (&j, "connections", st.connections);
  json_add_number (&j, "timeout", st.timeout);
  if (runs) {
    json_add_number (&j, "since_ms", st.since ? now_ms () - st.since : 0);
    json_add_number (&j, "outages", st.outages);
    json_add_number (&j, "outage_last_ms", st.outage_last_ms);
    json_add_number (&j, "outage_longest_ms", st.outage_longest_ms);
    json_add_number (&j, "outage_ago_ms",
                     st.outage_at ? now_ms () - st.outage_at : 0);
  }
  n = json_line (&j, text, sizeof text);
  return n > 0 ? json_read (text, n) : NULL;
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
  if (json_flag (p->server, "ready") && p->pci[0] && gpu_is_awake (p->pci))
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
  p->answer = client_get ("status");
  p->daemon = p->answer != NULL;
  p->forbidden = !p->daemon && errno == EACCES;
  if (!p->daemon)
    p->answer = answer_of_file (p->forbidden);
  p->device = json_number (p->answer, "device");
  p->server = json_get (p->answer, "server");
  p->pid = json_number (p->server, "pid");
  p->pci = json_text (p->server, "pci");
  if (swaps_read (&p->swaps) == -1 || meminfo_read (&p->mem) == -1)
    return -1;
  if (p->device >= 0)
    p->swap = nbd_find_swap (&p->swaps, p->device);
  if (p->swap && capacity_read (&p->capacity, p->swap->path,
                                json_number (p->answer, "spare")) == -1)
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
  return s == p->swap       ? "VRAM"
         : swap_is_zram (s) ? "zram"
         : s->is_file       ? "file"
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

/* What was given back and moved, as far as there was any. */
static void
print_elastic_past (const struct json_t *e)
{
  const int64_t trim = json_number (e, "given_back_trim"),
                headroom = json_number (e, "given_back_headroom"),
                limit = json_number (e, "given_back_limit"),
                out = json_number (e, "moves_out"),
                back = json_number (e, "moves_back");

  if (trim + headroom + limit > 0)
    printf ("           given back: %s after trims, %s for headroom, %s for "
            "the limit; the longest took %" PRId64 " ms\n",
            human (trim), human (headroom), human (limit),
            (json_number (e, "give_back_us_max") + 999) / 1000);
  if (out + back > 0)
    printf ("           moves: %" PRId64 " to the spill file, %" PRId64
            " back\n",
            out, back);
}

/* VRAM that comes and goes. */
static void
print_elastic (const struct json_t *e)
{
  const char *reason = json_text (e, "reason");
  int64_t limit;

  if (!json_flag (e, "on")) {
    if (reason[0])
      printf ("VRAM:      all of it held, the disk is not elastic: %s\n",
              reason);
    return;
  }
  printf ("VRAM:      %s held, %s of it hold data",
          human (json_number (e, "held")), human (json_number (e, "slots")));
  if (json_get_number (e, "limit", &limit))
    printf (", limit %s", human (limit));
  printf ("\n");
  if (json_number (e, "spill_size") > 0)
    printf ("           spill file: %s of %s used\n",
            human (json_number (e, "spilled")),
            human (json_number (e, "spill_size")));
  else if (json_text (e, "spill_reason")[0])
    printf ("           no spill file: %s\n", json_text (e, "spill_reason"));
  print_elastic_past (e);
}

static void
print_copies (const struct json_t *server)
{
  const char *path = json_text (server, "copy_path");

  if (json_flag (server, "lost"))
    printf ("copies:    FAIL: the GPU has been lost for %" PRId64 " s\n",
            json_number (server, "lost_ms") / 1000);
  else if (strcmp (path, "mapping") == 0)
    printf ("copies:    by the window, and by DMA where that is faster\n");
  else if (strcmp (path, "dma") == 0)
    printf ("copies:    by DMA alone: %s\n",
            json_text (server, "copy_reason"));
  else if (json_get (server, "generation"))
    printf ("copies:    not known: the server does not report it\n");
}

static void
print_server (const struct snapshot *p)
{
  const struct procmem *r = &p->procmem;
  int64_t generation;

  if (p->pid <= 0) {
    printf ("server:    %s\n", p->forbidden
                                   ? "only root and group vram-swap may see it"
                                   : "none");
    return;
  }
  printf ("server:    process %" PRId64 "%s", p->pid,
          json_flag (p->server, "ready") ? "" : ", NOT READY");
  if (json_get_number (p->server, "generation", &generation))
    printf (", number %" PRId64 " of this disk, %s, %s of it in use",
            generation, human (json_number (p->server, "size")),
            human (json_number (p->server, "used")));
  if (json_text (p->server, "gpu")[0])
    printf (", VRAM of %s, %s", json_text (p->server, "gpu"), p->pci);
  printf ("\n");
  print_elastic (json_get (p->server, "elastic"));
  print_copies (p->server);
  if (p->driver_replaced)
    printf ("driver:    was updated since the server started; the server goes "
            "on with the old one, and a new server may need a reboot\n");
  if (p->has_procmem)
    /* What is locked on fault counts as locked before it is resident. */
    printf ("residency: %s resident, %s locked, %s swapped out%s, IO_FLUSHER "
            "on %u of %u threads, OOM score %d\n",
            human (r->resident),
            r->locked >= r->resident ? "all of it" : human (r->locked),
            human (r->swapped), r->swapped > 0 ? " (!)" : "", r->io_flushers,
            r->threads, r->oom_score_adj);
  if (json_number (p->answer, "spare_wanted") > 0)
    printf ("spare:     %s of %s of RAM held for the next server\n",
            human (json_number (p->answer, "spare")),
            human (json_number (p->answer, "spare_wanted")));
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
  const int64_t connections = json_number (p->answer, "connections"),
                timeout = json_number (p->answer, "timeout");

  if (p->device < 0)
    return;
  printf ("device:    /dev/nbd%" PRId64 ", %" PRId64 " connection%s, ",
          p->device, connections, connections == 1 ? "" : "s");
  if (timeout)
    printf ("timeout %" PRId64 " s\n", timeout);
  else
    printf ("no timeout\n");
}

static void
print_outages (const struct json_t *answer)
{
  const int64_t n = json_number (answer, "outages");

  if (n > 0)
    printf ("outages:   %" PRId64 " time%s the server was replaced, the last "
            "took %" PRId64 " ms (%" PRId64 " min ago), the longest %" PRId64
            " ms\n",
            n, n == 1 ? "" : "s", json_number (answer, "outage_last_ms"),
            json_number (answer, "outage_ago_ms") / 60000,
            json_number (answer, "outage_longest_ms"));
}

static void
print_text (const struct snapshot *p, const struct options *o)
{
  const char *state = json_text (p->answer, "state"),
             *reason = json_text (p->answer, "reason");
  const int64_t outage = json_number (p->answer, "outage_ms");
  char device[32], text[512];

  printf ("VRAM swap: %s", state);
  if (p->swap)
    printf (", %s of %s used, since %" PRId64 " min", human (p->swap->used),
            human (p->swap->size),
            json_number (p->answer, "since_ms") / 60000);
  /* A start that is tried again has a reason instead. */
  if (strcmp (state, state_name (STATE_PAUSED)) == 0 && !reason[0])
    printf (" by the %s policy", json_text (p->answer, "cause"));
  printf ("%s%s\n", reason[0] ? ": " : "", reason);
  if (outage > 0)
    printf ("           no server for %" PRId64
            " ms: programs that need swapped pages wait\n",
            outage);
  print_gpu (p);
  print_server (p);
  print_device (p);
  print_outages (p->answer);
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

/* N if it is KNOWN, else null. */
static void
json_if (struct json *j, bool known, const char *name, int64_t n)
{
  if (known)
    json_add_number (j, name, n);
  else
    json_add_null (j, name);
}

/* Negative is not known. */
static void
json_known (struct json *j, const char *name, int64_t n)
{
  json_if (j, n >= 0, name, n);
}

static void
json_server (struct json *j, const struct snapshot *p)
{
  static const char *const copied[] = {
    "pid", "generation", "size", "used", "copy_path", "copy_reason", "elastic",
  };

  json_add_object (j, "server");
  json_add_bool (j, "ready", json_flag (p->server, "ready"));
  json_add_bool (j, "lost", json_flag (p->server, "lost"));
  json_add_bool (j, "driver_replaced", p->driver_replaced);
  for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++)
    json_add_copy (j, copied[i], json_get (p->server, copied[i]));
  json_if (j, p->has_procmem, "resident", p->procmem.resident);
  json_if (j, p->has_procmem, "locked", p->procmem.locked);
  json_if (j, p->has_procmem, "swapped", p->procmem.swapped);
  json_if (j, p->has_procmem, "oom_score_adj", p->procmem.oom_score_adj);
  json_if (j, p->has_procmem, "threads", p->procmem.threads);
  json_if (j, p->has_procmem, "io_flushers", p->procmem.io_flushers);
  json_close (j);
}

static void
json_gpu (struct json *j, const struct snapshot *p)
{
  json_add_object (j, "gpu");
  json_add_text (j, "name",
                 p->gpu.known ? p->gpu.name : json_text (p->server, "gpu"));
  json_add_text (j, "pci", p->gpu.pci);
  json_add_text (j, "driver", p->gpu.driver);
  json_known (j, "vram_total", p->gpu.total);
  json_known (j, "vram_used", p->gpu.used);
  json_known (j, "vram_free", p->gpu.free);
  json_add_text (j, "power", p->power);
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
    json_add_copy (j, "connections", json_get (p->answer, "connections"));
    json_add_copy (j, "timeout", json_get (p->answer, "timeout"));
    json_close (j);
  }
  else
    json_add_null (j, "device");
  if (p->swap) {
    json_add_object (j, "swap");
    json_add_number (j, "size", p->swap->size);
    json_add_number (j, "used", p->swap->used);
    json_add_number (j, "priority", p->swap->priority);
    json_add_number (j, "seconds", json_number (p->answer, "since_ms") / 1000);
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
  json_add_text (&j, "state", json_text (p->answer, "state"));
  json_add_text (&j, "cause", json_text (p->answer, "cause"));
  json_add_text (&j, "reason", json_text (p->answer, "reason"));
  if (p->forbidden)
    json_add_null (&j, "daemon");
  else
    json_add_bool (&j, "daemon", p->daemon);
  json_device (&j, p);

  json_add_object (&j, "outages");
  json_add_number (&j, "count", json_number (p->answer, "outages"));
  json_add_number (&j, "last_ms", json_number (p->answer, "outage_last_ms"));
  json_add_number (&j, "longest_ms",
                   json_number (p->answer, "outage_longest_ms"));
  json_add_number (&j, "now_ms", json_number (p->answer, "outage_ms"));
  json_close (&j);

  json_server (&j, p);
  json_gpu (&j, p);

  json_add_object (&j, "memory");
  json_add_number (&j, "total", p->mem.total);
  json_add_number (&j, "available", p->mem.available);
  json_add_copy (&j, "spare", json_get (p->answer, "spare"));
  json_add_copy (&j, "spare_wanted", json_get (p->answer, "spare_wanted"));
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
