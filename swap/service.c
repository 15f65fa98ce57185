/* nbdkit-vram: the server's process: its command line, start and end
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper.h"
#include "msg.h"
#include "process.h"
#include "root.h"
#include "run.h"
#include "service.h"

/* systemd's last kill at shutdown spares processes of root whose name begins
 * with @: the kernel may still need this one.
 */
#define SERVER_NAME "@nbdkit"

#define MAX_WORDS   48
#define LAST_ONE_MS 3000
#define BAD_TRIES   10 /* a tenth of a second apart */
#define END_MS      60000

static const char *words[MAX_WORDS + 1];
static size_t n_words;

static void __attribute__ ((format (printf, 1, 2))) add (const char *fmt, ...)
{
  static char text[8192];
  static size_t used;
  va_list args;
  int n;

  if (n_words == 0)
    used = 0;
  va_start (args, fmt);
  n = vsnprintf (text + used, sizeof text - used, fmt, args);
  va_end (args);
  if (n_words == MAX_WORDS || n < 0 || (size_t) n >= sizeof text - used) {
    error ("the server's command line is too long");
    exit (EXIT_USAGE);
  }
  words[n_words++] = text + used;
  words[n_words] = NULL;
  used += n + 1;
}

/* A setting handed on under the plugin's own name, unless it is AS_DEFAULT. */
static void
pass (const struct conf *c, enum conf_key key, const char *as_default)
{
  if (!as_default || !conf_is (c, key, as_default))
    add ("%s=%s", conf_name (key), conf_text (c, key));
}

bool
service_is_our_plugin (const char *plugin)
{
  return strcmp (plugin, PLUGIN_NAME) == 0 ||
         strstr (plugin, "nbdkit-" PLUGIN_NAME "-plugin.so") != NULL;
}

const char *const *
service_command (const struct conf *c)
{
  const char *plugin = conf_text (c, CONF_PLUGIN), *p;

  n_words = 0;
  add (SERVER_NAME);
  add ("--foreground");
  add ("--unix");
  add ("%s", conf_text (c, CONF_SOCKET));
  add ("--threads");
  add ("%s", conf_text (c, CONF_THREADS));
  add ("%s", plugin);
  pass (c, CONF_SIZE, NULL);
  if (service_is_our_plugin (plugin)) {
    pass (c, CONF_MIN_SIZE, NULL);
    pass (c, CONF_HEADROOM, NULL);
    pass (c, CONF_DEVICE, "auto");
    pass (c, CONF_WINDOW, "auto");
    pass (c, CONF_RESIDENT, NULL);
    pass (c, CONF_BOOST, NULL);
    pass (c, CONF_SCRUB, NULL);
    add ("%s=%lld", conf_name (CONF_GPU_TIMEOUT),
         (long long) conf_number (c, CONF_GPU_TIMEOUT));
  }
  /* Split at blanks; the values of a plugin's parameters rarely hold any. */
  for (p = conf_text (c, CONF_PLUGIN_ARGS); *p; p += strcspn (p, " \t")) {
    p += strspn (p, " \t");
    if (*p)
      add ("%.*s", (int) strcspn (p, " \t"), p);
  }
  return words;
}

/* The socket's folder, which only the server's user and root may enter. */
static int
make_folder (const char *socket)
{
  char folder[512];
  char *slash;

  snprintf (folder, sizeof folder, "%s", socket);
  slash = strrchr (folder, '/');
  if (slash == folder)
    return 0;
  *slash = '\0';
  if (mkdir (folder, 0700) == -1 && errno != EEXIST) {
    error ("%s: %m", folder);
    return -1;
  }
  return 0;
}

int
service_serve (const struct conf *c)
{
  const char *const *argv = service_command (c);
  const long long deadline = now_ms () + LAST_ONE_MS;
  struct server s;
  char path[512];
  enum probe p;

  if (!run_find ("nbdkit", path, sizeof path)) {
    error ("nbdkit is not installed");
    return EXIT_FAILED;
  }
  if (make_folder (conf_text (c, CONF_SOCKET)) == -1)
    return EXIT_FAILED;
  /* One that was killed may be gone in a moment. */
  while ((p = server_probe (conf_text (c, CONF_SOCKET), 1000, &s)) !=
         PROBE_ABSENT)
    if (p == PROBE_FORBIDDEN) {
      error ("%s: permission denied: its folder belongs to another user; set "
             "socket= to another folder, or remove that one",
             conf_text (c, CONF_SOCKET));
      return EXIT_FAILED;
    }
    else if (now_ms () >= deadline || !pause_ms (20)) {
      error ("a server is already there on %s", conf_text (c, CONF_SOCKET));
      return EXIT_FAILED;
    }
  return keeper_run (path, argv, conf_text (c, CONF_SOCKET));
}

bool
service_has_unit (void)
{
  const char *argv[] = { "systemctl", "cat", SERVER_UNIT, NULL };
  struct run r = { .limit = 10 };

  return file_exists (root_path ("/run/systemd/system")) &&
         run (&r, argv, NULL, NULL) == 0;
}

int
service_wait (const struct conf *c, pid_t pid, struct server *s)
{
  const char *socket = conf_text (c, CONF_SOCKET);
  int64_t limit = conf_number (c, CONF_START_TIMEOUT);
  long long deadline = now_ms () + limit * 1000;
  unsigned bad = 0;
  enum probe p;

  for (;;) {
    long long left = deadline - now_ms ();

    p = server_probe (socket, left < 1000 ? left < 1 ? 1 : left : 1000, s);
    if (p == PROBE_OK)
      return 0;
    if (interrupted ())
      return -1;
    if (pid > 0 && process_started (pid) == -1) {
      error ("the server ended before it was ready; its log says why");
      return -1;
    }
    /* One that ends hangs up, too; give it the time to be gone. */
    if (p == PROBE_BAD && ++bad > BAD_TRIES) {
      error ("%s: what answers there is not an NBD server with a disk for us",
             socket);
      return -1;
    }
    if (now_ms () >= deadline) {
      error (p == PROBE_ABSENT
                 ? "no server on %s after %lld s"
                 : "the server on %s did not answer within %lld s: it may "
                   "still be waiting for the GPU",
             socket, (long long) limit);
      return -1;
    }
    pause_ms (100);
  }
}

/* SIGTERM to the server that we started, and a bounded wait; never SIGKILL. */
static int
terminate (const struct state *st)
{
  pid_t pid = st->server_pid;

  /* The number may be another process's by now. */
  if (process_started (pid) != st->server_started)
    return 0;
  if (kill (pid, SIGTERM) == -1) {
    error ("cannot end the server, process %ld: %m", (long) pid);
    return -1;
  }
  for (unsigned i = 0; i < 600; i++) {
    if (process_started (pid) != st->server_started)
      return 0;
    pause_ms (100);
  }
  error ("the server, process %ld, is still there after a minute; left alone",
         (long) pid);
  return -1;
}

static void
start_server (void *opaque)
{
  _exit (service_serve (opaque));
}

/* The last line of what the server has said, as a message. */
static void
show_log (const char *log)
{
  char text[4096], *line;

  if (read_text (log, text, sizeof text) <= 0)
    return;
  line = strrchr (text, '\n');
  error ("the server's last words: %s", line ? line + 1 : text);
}

int
service_start (const struct conf *c, struct state *st, struct server *s,
               bool *started)
{
  const char *socket = conf_text (c, CONF_SOCKET);
  const char *const log = "/run/vram-swap.log";
  int64_t limit = conf_number (c, CONF_START_TIMEOUT);
  pid_t pid;

  *started = false;
  if (server_probe (socket, 1000, s) != PROBE_ABSENT)
    return service_wait (c, 0, s);

  if (service_has_unit ()) {
    const char *argv[] = { "systemctl", "start", SERVER_UNIT, NULL };
    struct run r = { .limit = limit + 30 };

    if (run (&r, argv, NULL, NULL) == -1) {
      error ("%s does not start (journalctl -u %s): %s", SERVER_UNIT,
             SERVER_UNIT, run_reason (&r));
      /* A start that was cut short may still come to something. */
      if (r.interrupted || r.timed_out) {
        finish_undisturbed ();
        service_stop (st);
      }
      return -1;
    }
    *started = true;
    if (service_wait (c, 0, s) == -1)
      goto err;
    return 0;
  }

  pid = process_detached (root_path ("%s", log), start_server, (void *) c);
  if (pid == -1)
    return -1;
  st->server_pid = pid;
  st->server_started = process_started (pid);
  if (state_write (st) == -1)
    goto err;
  *started = true;
  if (service_wait (c, pid, s) == -1) {
    show_log (root_path ("%s", log));
    goto err;
  }
  return 0;

err:
  finish_undisturbed ();
  service_stop (st);
  *started = false;
  return -1;
}

static bool stop_was_asked_for;

int
service_stop (struct state *st)
{
  if (service_has_unit ()) {
    /* Not waited for: it takes the lock, and the unit's own stop may be what
     * waits for us.
     */
    const char *argv[] = { "systemctl", "--no-block", "stop", SERVER_UNIT,
                           NULL };
    struct run r = { .limit = 30 };

    if (run (&r, argv, NULL, NULL) == -1) {
      error ("systemctl stop %s: %s", SERVER_UNIT, run_reason (&r));
      return -1;
    }
    stop_was_asked_for = true;
    return 0;
  }
  if (st->server_pid == 0)
    return 0; /* somebody else's */
  if (terminate (st) == -1)
    return -1;
  st->server_pid = 0;
  return state_write (st);
}

bool
service_is_ending (void)
{
  const char *argv[] = { "systemctl", "show", "--property=ActiveState,Job",
                         SERVER_UNIT, NULL };
  struct run r = { .limit = 10 };
  const char *job;

  if (run (&r, argv, NULL, NULL) == -1)
    return false;
  if (strstr (r.output, "ActiveState=deactivating"))
    return true;
  /* What is to be done with a unit that runs ends it, if only to start it anew.
   */
  job = strstr (r.output, "Job=");
  return strstr (r.output, "ActiveState=active") && job && atol (job + 4) > 0;
}

/* Only waits, so that any signal ends it. */
static bool
await_unit (void)
{
  const long long deadline = now_ms () + END_MS;

  while (service_is_ending ()) {
    if (now_ms () >= deadline || was_interrupted ())
      return false;
    pause_ms (100);
  }
  return true;
}

bool
service_stops_unit (void)
{
  /* systemd.exec(5): for ExecStop= only. */
  return getenv ("SERVICE_RESULT") != NULL;
}

void
service_await_end (void)
{
  if (!stop_was_asked_for || service_stops_unit ())
    return;
  stop_was_asked_for = false;
  if (!await_unit () && !was_interrupted ())
    warning ("%s is still ending after a minute", SERVER_UNIT);
}

int
service_lock (const struct conf *c, unsigned seconds)
{
  struct server s;
  struct state st;
  int lock;

  do {
    lock = state_lock (seconds);
    if (lock == -1)
      return -1;
    /* With a device attached there is nothing to attach. */
    state_read (&st);
    if (state_device (&st) >= 0 ||
        server_probe (conf_text (c, CONF_SOCKET), 1000, &s) == PROBE_ABSENT ||
        !service_has_unit () || !service_is_ending ())
      return lock;
    close (lock);
    note ("waiting for the server's end");
  } while (await_unit ());
  if (!was_interrupted ())
    error ("%s is still ending after a minute; systemctl status %s says what "
           "it is at",
           SERVER_UNIT, SERVER_UNIT);
  return -1;
}
