/* nbdkit-vram: vram-swap's command line, and its commands
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_OPTIONS_H
#define VRAM_SWAP_OPTIONS_H

#include <stdbool.h>

#include "conf.h"

struct options {
  struct conf conf;
  const char *conf_file; /* of --config, or NULL */
  bool conf_wrong;       /* the file has errors: nothing is started with it */
  bool force;
  bool wait;
  long long wait_ms; /* with --wait=SECONDS; -1 for as long as it takes */
  bool json;
  bool watch;
  bool fill;
  bool server_only;
  bool has_free; /* with --free: */
  int64_t free_bytes;
  const char *user; /* of --user, or NULL */
  bool test;        /* the daemon tests the device, and ends */
  char **own_argv;  /* all of the command line, for the daemon */
  int argc;         /* what follows the command and its options */
  char **argv;
};

/* The settings of FILE, or of the usual file when it is NULL.  Returns 0, or
 * -1 with messages; the caller frees C either way.
 */
int options_load (struct conf *c, const char *file);

/* Each returns an exit status of msg.h. */
int cmd_up (struct options *o);
int cmd_down (struct options *o);
int cmd_status (struct options *o);
int cmd_check (struct options *o);
int cmd_test (struct options *o);
int cmd_config (struct options *o);
int cmd_reload (struct options *o);
int cmd_limit (struct options *o);
int cmd_run (struct options *o);
int cmd_sleep (struct options *o);
int cmd_look (struct options *o);
int cmd_daemon (struct options *o);

#endif
