/* nbdkit-vram: the server's command line
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gpu.h"
#include "msg.h"
#include "root.h"
#include "server-command.h"

/* systemd's last kill at shutdown spares processes of root whose name begins
 * with @, and from version 255 on those of a unit that asks for it.
 */
#define SERVER_NAME "@nbdkit"

#define STAGING "staging="

static const char *words[SERVER_WORDS_MAX + 1];
static size_t n_words;
static char text[8192];
static size_t used;
static bool too_long;

static void __attribute__ ((format (printf, 1, 2))) add (const char *fmt, ...)
{
  va_list args;
  int n;

  va_start (args, fmt);
  n = vsnprintf (text + used, sizeof text - used, fmt, args);
  va_end (args);
  if (n_words == SERVER_WORDS_MAX || n < 0 ||
      (size_t) n >= sizeof text - used) {
    too_long = true;
    return;
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

/* The service's own folder lies below the root that tests can move. */
static void
pass_spill (const struct conf *c)
{
  const char *folder = conf_text (c, CONF_SPILL);

  if (conf_is (c, CONF_SPILL, CONF_SPILL_FOLDER))
    folder = root_path (CONF_SPILL_FOLDER);
  if (!conf_is (c, CONF_SPILL, "none"))
    add ("%s=%s", conf_name (CONF_SPILL), folder);
}

/* Whether PLUGIN is NAME or the file of a plugin of that name. */
static bool
is_named (const char *plugin, const char *name)
{
  const char *file = strrchr (plugin, '/');
  size_t n = strlen (name);

  if (!file)
    return strcmp (plugin, name) == 0;
  return strncmp (file, "/nbdkit-", 8) == 0 &&
         strncmp (file + 8, name, n) == 0 &&
         strcmp (file + 8 + n, "-plugin.so") == 0;
}

int64_t
server_headroom (const struct conf *c)
{
  const int64_t gib = INT64_C (1) << 30;
  char connector[64];

  if (!conf_is (c, CONF_HEADROOM, "auto"))
    return conf_number (c, CONF_HEADROOM);
  return gpu_drives_display ("*", connector, sizeof connector) ? 2 * gib : gib;
}

bool
server_is_ours (const struct conf *c)
{
  const char *plugin = conf_text (c, CONF_PLUGIN);

  /* The default name also where configure was told another one: a setting may
   * be older than that.
   */
  static const char *const names[] = { PLUGIN_NAME, "vram" };

  return is_named (plugin, names[0]) || is_named (plugin, names[1]);
}

const char *const *
server_command (const struct conf *c)
{
  const char *p;

  n_words = used = 0;
  too_long = false;
  add (SERVER_NAME);
  add ("--foreground");
  add ("--unix");
  add ("%s", conf_text (c, CONF_SOCKET));
  add ("--threads");
  add ("%s", conf_text (c, CONF_THREADS));
  add ("%s", conf_text (c, CONF_PLUGIN));
  pass (c, CONF_SIZE, NULL);
  if (server_is_ours (c)) {
    pass (c, CONF_MIN_SIZE, NULL);
    add ("%s=%" PRId64, conf_name (CONF_HEADROOM), server_headroom (c));
    pass (c, CONF_ELASTIC, "no");
    pass (c, CONF_LIMIT, "max");
    if (conf_is (c, CONF_ELASTIC, "yes"))
      pass_spill (c);
    pass (c, CONF_DEVICE, "auto");
    pass (c, CONF_WINDOW, "auto");
    pass (c, CONF_RESIDENT, NULL);
    pass (c, CONF_BOOST, NULL);
    pass (c, CONF_SCRUB, NULL);
    add ("%s=%lld", conf_name (CONF_GPU_TIMEOUT),
         (long long) conf_number (c, CONF_GPU_TIMEOUT));
  }
  /* Requests for swap are small, and locked RAM is what they are to save. */
  if (server_is_ours (c) && !strstr (conf_text (c, CONF_PLUGIN_ARGS), STAGING))
    add (STAGING "512K");
  /* Split at blanks; the values of a plugin's parameters rarely hold any. */
  for (p = conf_text (c, CONF_PLUGIN_ARGS); *p; p += strcspn (p, " \t")) {
    p += strspn (p, " \t");
    if (*p)
      add ("%.*s", (int) strcspn (p, " \t"), p);
  }
  if (!too_long)
    return words;
  log_error ("the server's command line is too long; shorten plugin-args");
  return NULL;
}
