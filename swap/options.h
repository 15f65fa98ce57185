/* nbdkit-vram: vram-swap's command line, and its commands
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_OPTIONS_H
#define VRAM_SWAP_OPTIONS_H

#include <stdbool.h>

#include "conf.h"
#include "state.h"

struct options {
  struct conf conf;
  bool conf_wrong; /* the file has errors: nothing is started with it */
  bool force;
  bool wait;
  long long wait_ms; /* with --wait=SECONDS; -1 for as long as it takes */
  bool json;
  bool watch;
  bool fill;
  bool keep_server;
  enum paused pause; /* down on whose behalf */
  int argc;          /* what follows the command and its options */
  char **argv;
};

/* Each returns an exit status of msg.h. */
int cmd_up (struct options *o);
int cmd_down (struct options *o);
int cmd_status (struct options *o);
int cmd_check (struct options *o);
int cmd_test (struct options *o);
int cmd_bench (struct options *o);
int cmd_config (struct options *o);
int cmd_reload (struct options *o);
int cmd_reconnect (struct options *o);
int cmd_policy (struct options *o);
int cmd_sleep (struct options *o);
int cmd_serve (struct options *o);
int cmd_wait_server (struct options *o);
int cmd_stop_server (struct options *o);
int cmd_uninstall (struct options *o);

#endif
