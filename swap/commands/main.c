/* nbdkit-vram: vram-swap's commands and options
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"
#include "options.h"
#include "plugin-check.h"
#include "root.h"
#include "runstate.h"

#ifndef SYSCONFDIR /* the Makefile gives it; checkers that do without it do   \
                    */
#define SYSCONFDIR "/etc"
#endif
#define CONF_FILE SYSCONFDIR "/nbdkit-vram.conf"

/* Options that a command takes besides those that all take. */
enum {
  WORD = 1, /* getopt's value for what is no option */
  FORCE = 2,
  WAIT = 4,
  JSON = 8,
  WATCH = 16,
  FILL = 32,
  SERVER_ONLY = 128,
  USER = 256,
  FREE = 512,
};

/* A command that switches off, ends or only shows ignores errors in the
 * configuration: a typo must not keep a machine from shutting down.  'check'
 * reports them itself.
 */
enum on_errors { REFUSES, GOES_ON, REPORTS };
enum by { ANYONE, ROOT };

static const struct command {
  const char *name;
  int (*run) (struct options *o);
  unsigned takes;
  int args; /* words after it; -1 for any number */
  enum on_errors on_errors;
  enum by by;
} commands[] = {
  { "up", cmd_up, 0, 0, GOES_ON, ROOT },
  { "down", cmd_down, FORCE | WAIT, 0, GOES_ON, ROOT },
  { "status", cmd_status, JSON | WATCH, 0, GOES_ON, ANYONE },
  { "check", cmd_check, JSON, 0, REPORTS, ANYONE },
  { "test", cmd_test, FILL, 0, REFUSES, ROOT },
  { "config", cmd_config, JSON, 0, REFUSES, ANYONE },
  { "limit", cmd_limit, 0, 1, GOES_ON, ANYONE },
  { "run", cmd_run, FREE, -1, GOES_ON, ANYONE },
  { "reload", cmd_reload, 0, 0, REPORTS, ROOT },
  /* What units and scripts call. */
  { "daemon", cmd_daemon, SERVER_ONLY | USER, 0, REFUSES, ANYONE },
  { "sleep", cmd_sleep, 0, 2, GOES_ON, ROOT },
  { "look", cmd_look, 0, 0, GOES_ON, ROOT },
};

static void
usage (FILE *out)
{
  fputs (
      "vram-swap: a GPU's memory as swap\n"
      "\n"
      "  vram-swap up                 switch it on\n"
      "  vram-swap down               empty it and switch it off\n"
      "     --wait[=TIME]             wait until the data fits elsewhere\n"
      "     --force                   try although the data may not fit\n"
      "  vram-swap status             print state, server, device and memory\n"
      "     --json, --watch           for programs; every two seconds\n"
      "  vram-swap check [--json]     print problems and how to fix them\n"
      "  vram-swap test [--fill]      write and read back, while it is off\n"
      "  vram-swap config [--json]    print the settings and their origin\n"
      "  vram-swap limit [SIZE|N%|max|config]   set or print how much VRAM to "
      "hold\n"
      "  vram-swap run [--free=SIZE] PROGRAM...   run it with the VRAM given "
      "back\n"
      "  vram-swap reload             take new settings and the installed "
      "server\n"
      "  vram-swap daemon             run the service in the foreground\n"
      "\n"
      "  --config FILE                instead of " CONF_FILE "\n"
      "  --quiet                      no progress and no information\n"
      "  --help, --version\n"
      "\n"
      "Exit status: 0 done, 1 failed, 2 wrong usage or "
      "configuration,\n"
      "3 refused because it would not fit, 4 status: swap is off,\n"
      "5 check: a problem was found, 6 interrupted.\n"
      "vram-swap(8) has the rest.\n",
      out);
}

static int
wrong_usage (void)
{
  fputs ("Try 'vram-swap --help' for more information.\n", stderr);
  return EXIT_USAGE;
}

int
cmd_config (struct options *o)
{
  const char *plugin = conf_text (&o->conf, CONF_PLUGIN);
  struct run r;

  if (o->json)
    conf_print_json (&o->conf, stdout);
  else
    conf_print (&o->conf, stdout);
  switch (plugin_check (&o->conf, &r)) {
  case PLUGIN_OTHER:
    log_error ("nbdkit's '%s' is another plugin of that name; set plugin= to "
               "the file of nbdkit-vram's",
               plugin);
    return EXIT_USAGE;
  case PLUGIN_REFUSES:
    log_error ("'%s' refuses the settings: %s", plugin, run_reason (&r));
    return EXIT_USAGE;
  default:
    return EXIT_OK;
  }
}

static const struct command *
find_command (const char *name)
{
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp (commands[i].name, name) == 0)
      return &commands[i];
  return NULL;
}

/* Whether COMMAND does what it can with a file that has errors: what ends or
 * shows something does, and a daemon that has swap to keep.
 */
static bool
goes_on (const struct command *command)
{
  return command->on_errors == GOES_ON ||
         (command->run == cmd_daemon &&
          (getenv ("LISTEN_FDS") ||
           file_exists (root_path (RUN_FOLDER "/settings"))));
}

int
options_load (struct conf *c, const char *file)
{
  return conf_load (c, file ? file : root_path ("%s", CONF_FILE),
                    file == NULL);
}

/* Reads the configuration for COMMAND.  What a file with errors does not say
 * is as it was when swap went on.
 */
static bool
load_settings (struct options *o, const struct command *command,
               const char *file)
{
  const char *path = root_path (RUN_FOLDER "/settings");
  const bool reports = command->on_errors == REPORTS;
  struct conf old;

  o->conf_file = file;
  if ((reports ? conf_read : conf_load) (
          &o->conf, file ? file : root_path ("%s", CONF_FILE), file == NULL) ==
      0)
    return true;
  /* All of them have a value unless memory was short. */
  if ((!goes_on (command) && !reports) || !o->conf.item[CONF_KEYS - 1].value)
    return false;
  o->conf_wrong = true;
  if (reports)
    return true;
  if (file_exists (path)) {
    if (conf_load (&old, path, false) == 0)
      for (unsigned k = 0; k < CONF_KEYS; k++)
        if (o->conf.item[k].line == 0) {
          char *value = o->conf.item[k].value;

          o->conf.item[k].value = old.item[k].value;
          old.item[k].value = value;
        }
    conf_free (&old);
  }
  log_warning ("ignoring the errors in the configuration above");
  return true;
}

/* The name of one of the options that are GIVEN. */
static const char *
option_name (const struct option *longs, unsigned given)
{
  while (longs->val != (int) (given & -given))
    longs++;
  return longs->name;
}

int
main (int argc, char **argv)
{
  static const struct option longs[] = {
    { "config", required_argument, NULL, 'c' },
    { "root", required_argument, NULL, 'r' },
    { "quiet", no_argument, NULL, 'q' },
    { "force", no_argument, NULL, FORCE },
    { "wait", optional_argument, NULL, WAIT },
    { "json", no_argument, NULL, JSON },
    { "watch", no_argument, NULL, WATCH },
    { "fill", no_argument, NULL, FILL },
    { "server-only", no_argument, NULL, SERVER_ONLY },
    { "user", required_argument, NULL, USER },
    { "free", required_argument, NULL, FREE },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
  };
  const struct command *command;
  static char **words;
  struct options o = { .wait_ms = -1, .own_argv = argv };
  const char *conf_file = NULL;
  unsigned given = 0;
  bool runs = false,
       program = false; /* 'run', and its program's words follow */
  int n = 0;
  int64_t seconds;
  int opt, status;

  log_to = msg_to_user;
  output_check_at_exit ();
  words = calloc (argc + 1, sizeof *words);
  if (!words) {
    log_error ("%m");
    return EXIT_FAILED;
  }
  /* In order, because what follows the program of 'run' is the program's. */
  while (!program &&
         (opt = getopt_long (argc, argv, "-c:qhV", longs, NULL)) != -1) {
    switch (opt) {
    case WORD:
      if (n == 0)
        runs = optarg && strcmp (optarg, "run") == 0;
      words[n++] = optarg;
      program = runs && n == 2;
      break;
    case 'c':
      conf_file = optarg;
      break;
    case 'r':
      root_prefix = optarg;
      break;
    case 'q':
      quiet = true;
      break;
    case WAIT:
      o.wait = true;
      if (optarg) {
        if (!conf_parse_seconds (optarg, &seconds)) {
          log_error ("invalid --wait=%s; expected a time such as 60, 90s, "
                     "10min or 1h",
                     optarg);
          return wrong_usage ();
        }
        o.wait_ms = seconds * 1000;
      }
      break;
    case FORCE:
    case JSON:
    case WATCH:
    case FILL:
    case SERVER_ONLY:
      break; /* below */
    case USER:
      o.user = optarg;
      break;
    case FREE:
      o.has_free = conf_parse_bytes (optarg, &o.free_bytes);
      if (!o.has_free) {
        log_error ("invalid --free=%s; expected a size such as 2G", optarg);
        return wrong_usage ();
      }
      break;
    case 'h':
      usage (stdout);
      return EXIT_OK;
    case 'V':
      printf ("vram-swap %s\n", PACKAGE_VERSION);
      return EXIT_OK;
    default:
      return wrong_usage ();
    }
    if (opt != WORD && (opt < 'A' || opt > 'z'))
      given |= opt;
  }
  o.force = given & FORCE;
  o.json = given & JSON;
  o.watch = given & WATCH;
  o.fill = given & FILL;
  o.server_only = given & SERVER_ONLY;
  while (optind < argc)
    words[n++] = argv[optind++];
  if (n == 0) {
    usage (stderr);
    return EXIT_USAGE;
  }
  command = find_command (words[0]);
  if (!command) {
    log_error ("unknown command '%s'", words[0]);
    return wrong_usage ();
  }
  o.argc = n - 1;
  o.argv = words + 1;
  if (given & ~command->takes) {
    log_error ("%s: option '--%s' is not supported", command->name,
               option_name (longs, given & ~command->takes));
    return wrong_usage ();
  }
  if (command->args >= 0 && o.argc > command->args) {
    log_error ("%s: unexpected argument '%s'", command->name,
               o.argv[command->args]);
    return wrong_usage ();
  }

  /* A made-up machine is the user's own. */
  if (command->by == ROOT && geteuid () != 0 && root_prefix[0] == '\0') {
    log_error ("only root may do that; run 'sudo vram-swap %s'",
               command->name);
    return EXIT_FAILED;
  }
  status = EXIT_USAGE;
  if (load_settings (&o, command, conf_file)) {
    catch_signals ();
    status = command->run (&o);
  }
  conf_free (&o.conf);
  free (words);
  return status;
}
