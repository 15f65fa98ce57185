/* nbdkit-vram: asks nbdkit whether the plugin would start as it is configured
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "plugin-check.h"
#include "server-command.h"

/* No plugin has a parameter of this name.  nbdkit hands parameters over in
 * their order, so when this one is refused, those before it have been
 * accepted.
 */
#define NO_PARAMETER "vram-swap-check"

#define MAX_WORDS 64

/* The server's command line, with OPTION, and at its end LAST or NULL. */
static int
run_server (struct run *r, const struct conf *c, const char *option,
            const char *last)
{
  const char *const *words = server_command (c);
  const char *argv[MAX_WORDS + 4] = { "nbdkit", option };
  size_t n = 2;

  for (size_t i = 1; words && words[i] && i < MAX_WORDS; i++)
    argv[n++] = words[i];
  argv[n++] = last;
  argv[n] = NULL;
  r->limit = 60;
  r->as_server = true;
  return run (r, argv, NULL, NULL);
}

enum plugin_verdict
plugin_check (const struct conf *c, struct run *r)
{
  const char *argv[] = { "nbdkit", conf_text (c, CONF_PLUGIN), "--help",
                         NULL };

  r->limit = 60;
  r->as_server = true;
  if (run (r, argv, NULL, NULL) == -1)
    return PLUGIN_MISSING;
  if (server_is_ours (c) && !strstr (r->output, "gpu-timeout="))
    return PLUGIN_OTHER;
  return run_server (r, c, "--dump-plugin", NO_PARAMETER "=1") == 0 ||
                 strstr (r->output, NO_PARAMETER)
             ? PLUGIN_FINE
             : PLUGIN_REFUSES;
}

bool
plugin_dump (const struct conf *c, struct run *r)
{
  return run_server (r, c, "--dump-plugin", NULL) == 0;
}
