/* nbdkit-vram: nbdkit-vram.conf, what it may say and what is in force
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_SWAP_CONF_H
#define VRAM_SWAP_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* In the order in which nbdkit-vram.conf(5) and 'vram-swap config' list them.
 */
enum conf_key {
  CONF_SIZE,
  CONF_MIN_SIZE,
  CONF_HEADROOM,
  CONF_ELASTIC,
  CONF_LIMIT,
  CONF_SPILL,
  CONF_DEVICE,
  CONF_WINDOW,
  CONF_RESIDENT,
  CONF_BOOST,
  CONF_SCRUB,
  CONF_GPU_TIMEOUT,
  CONF_PLUGIN,
  CONF_PLUGIN_ARGS,
  CONF_THREADS,
  CONF_SOCKET,
  CONF_START_TIMEOUT,
  CONF_SPARE,
  CONF_NBD_DEVICE,
  CONF_CONNECTIONS,
  CONF_TIMEOUT,
  CONF_OUTAGE_TIMEOUT,
  CONF_PRIORITY,
  CONF_DISCARD,
  CONF_POWER_POLICY,
  CONF_SLEEP_POLICY,
  CONF_SLEEP_WHEN_FULL,
  CONF_IDLE_DOWN,
  CONF_KEYS
};

/* When a changed value counts. */
enum conf_change {
  CONF_LIVE,          /* from the next look at it on */
  CONF_AT_UP,         /* from the next 'down' and 'up' on, server unchanged */
  CONF_AT_NEW_SERVER, /* when the server starts anew */
};

/* What the service has for itself on disk: the default of spill. */
#define CONF_SPILL_FOLDER "/var/lib/vram-swap"

struct conf {
  struct {
    char *value;   /* as written; never NULL */
    unsigned line; /* in the file; 0 for the default */
  } item[CONF_KEYS];
  char *file;
  char *errors; /* what is wrong with it, a line each; or NULL */
};

/* Reads FILE over the defaults.  A file that is not there is an error unless
 * MISSING_OK.  Root reads only what others cannot write.  Everything that is
 * wrong, each with file and line, is in C->errors.  Returns 0, or -1 when
 * something was.  The caller frees C either way.
 */
int conf_read (struct conf *c, const char *file, bool missing_ok);

/* The same, and prints the errors. */
int conf_load (struct conf *c, const char *file, bool missing_ok);
void conf_free (struct conf *c);

const char *conf_name (enum conf_key key);
enum conf_change conf_when (enum conf_key key);
bool conf_find (const char *name, enum conf_key *key);

const char *conf_text (const struct conf *c, enum conf_key key);

/* For keys that hold one of: a number, a size in bytes, a time in seconds. */
int64_t conf_number (const struct conf *c, enum conf_key key);
bool conf_is (const struct conf *c, enum conf_key key, const char *word);

/* For power-policy = down-below=N%: N; otherwise -1. */
int conf_battery_threshold (const struct conf *c);

/* What "auto" stands for on this machine. */
unsigned conf_connections (const struct conf *c);
unsigned conf_timeout (const struct conf *c);

/* Prints every key with its value and where that comes from. */
void conf_print (const struct conf *c, FILE *out);
void conf_print_json (const struct conf *c, FILE *out);

/* Parsers of single values, for the unit test. */
bool conf_parse_bytes (const char *text, int64_t *bytes);
bool conf_parse_seconds (const char *text, int64_t *seconds);

#endif
