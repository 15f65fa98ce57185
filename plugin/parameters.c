/* nbdkit-vram: parameters of the command line
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "common/log.h"
#include "disk/blockmap.h"
#include "parameters.h"

struct parameters parameters = {
  .scrub = true,
  .init_wait_ms = 5000,
  .gpu_timeout_ms = 20000,
  .copies = { .staging = STAGING_DEFAULT },
  .resident = MEMLOCK_AUTO,
  .handover = HANDOVER_AUTO,
  .spill = "none",
};

struct parameter {
  const char *name;
  const char *values; /* as --help and messages show them */
  const char *help;

  /* Parse VALUE into *TARGET.  Returns 0, or -1 after log_error. */
  int (*parse) (const struct parameter *parameter, const char *value);
  void *target;
  uint64_t min, max; /* of a size or number */

  bool *is_set;         /* set to true with the value; may be NULL */
  const char *old_name; /* that is still accepted; may be NULL */
};

/* Parse "80%" or "12.5%" into *PERCENT. */
static int
parse_percent (const char *key, const char *value, double *percent)
{
  char *end;

  /* strtod also takes "inf", "0x10" and spaces. */
  if (strspn (value, "0123456789.") + 1 != strlen (value))
    goto err;
  errno = 0;
  *percent = strtod (value, &end);
  if (errno || end == value || strcmp (end, "%") != 0)
    goto err;
  if (!(*percent > 0 && *percent <= 100)) {
    log_error ("%s=%s: a percentage must be more than 0 and at most 100", key,
               value);
    return -1;
  }
  return 0;

err:
  log_error (
      "%s=%s: expected a percentage such as 80%% or 12.5%%, a size such "
      "as 7G, or max",
      key, value);
  return -1;
}

int
size_parse (const char *key, const char *value, struct size *size)
{
  size_t len = strlen (value);

  if (strcmp (value, "max") == 0) {
    size->kind = SIZE_MAX_FREE;
    return 0;
  }
  if (len > 0 && value[len - 1] == '%') {
    if (parse_percent (key, value, &size->percent) == -1)
      return -1;
    size->kind = SIZE_PERCENT;
    return 0;
  }
  if (size_parse_bytes (key, value, BLOCK_SIZE, UINT64_MAX, &size->bytes) ==
      -1)
    return -1;
  size->kind = SIZE_BYTES;
  return 0;
}

int
size_parse_bytes (const char *key, const char *value, uint64_t min,
                  uint64_t max, uint64_t *bytes)
{
  int64_t r = nbdkit_parse_size (value);

  if (r == -1) {
    log_error ("%s=%s: expected a size such as 512M or 7G", key, value);
    return -1;
  }
  if ((uint64_t) r < min) {
    log_error ("%s=%s is too small: at least %s", key, value, SIZE_STR (min));
    return -1;
  }
  if ((uint64_t) r > max) {
    log_error ("%s=%s is too large: at most %s", key, value, SIZE_STR (max));
    return -1;
  }
  *bytes = (uint64_t) r;
  return 0;
}

static int
parse_size (const struct parameter *parameter, const char *value)
{
  return size_parse (parameter->name, value, parameter->target);
}

static int
parse_bytes (const struct parameter *parameter, const char *value)
{
  return size_parse_bytes (parameter->name, value, parameter->min,
                           parameter->max, parameter->target);
}

static int
parse_staging (const struct parameter *parameter, const char *value)
{
  uint64_t *bytes = parameter->target;

  if (parse_bytes (parameter, value) == -1)
    return -1;
  *bytes = ROUND_DOWN (*bytes, STAGING_MIN);
  return 0;
}

static int
parse_number (const struct parameter *parameter, const char *value)
{
  unsigned long long n;
  char *end;

  errno = 0;
  n = strtoull (value, &end, 10);
  /* strtoull also takes spaces and signs. */
  if (!isdigit ((unsigned char) value[0]) || *end != '\0' || errno ||
      n < parameter->min || n > parameter->max) {
    log_error ("%s=%s: it must be a number from %" PRIu64 " to %" PRIu64,
               parameter->name, value, parameter->min, parameter->max);
    return -1;
  }
  *(unsigned *) parameter->target = (unsigned) n;
  return 0;
}

static int
parse_seconds (const struct parameter *parameter, const char *value)
{
  unsigned *ms = parameter->target;

  if (parse_number (parameter, value) == -1)
    return -1;
  *ms *= 1000;
  return 0;
}

static int
parse_text (const struct parameter *parameter, const char *value)
{
  *(const char **) parameter->target = value;
  return 0;
}

/* The words that nbdkit's own parameters accept. */
static const char *
yes_or_no (const char *value)
{
  static const char *const words[][2] = {
    { "1", "yes" },  { "true", "yes" }, { "t", "yes" },  { "y", "yes" },
    { "on", "yes" }, { "yes", "yes" },  { "0", "no" },   { "false", "no" },
    { "f", "no" },   { "n", "no" },     { "off", "no" }, { "no", "no" },
  };

  for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i)
    if (strcasecmp (value, words[i][0]) == 0)
      return words[i][1];
  return value;
}

/* Find VALUE among the words of PARAMETER, which are separated by '|'.
 * Returns its index, or -1 after log_error.
 */
static int
find_choice (const struct parameter *parameter, const char *value)
{
  const char *word = parameter->values, *wanted = yes_or_no (value);
  char list[80];
  size_t n = 0, length;
  int i = 0;

  for (;; word += length + 1, ++i) {
    length = strcspn (word, "|");
    if (strlen (wanted) == length && strncmp (word, wanted, length) == 0)
      return i;
    /* "auto, yes or no" */
    n += (size_t) snprintf (list + n, sizeof list - n, "%s%.*s",
                            i == 0         ? ""
                            : word[length] ? ", "
                                           : " or ",
                            (int) length, word);
    if (word[length] == '\0')
      break;
  }
  log_error ("%s=%s: it must be %s", parameter->name, value, list);
  return -1;
}

/* The target is an enum whose values are in the order of the words. */
static int
parse_enum (const struct parameter *parameter, const char *value)
{
  int choice = find_choice (parameter, value);

  if (choice == -1)
    return -1;
  *(unsigned *) parameter->target = (unsigned) choice;
  return 0;
}

/* The first word stands for false, the second one for true. */
static int
parse_bool (const struct parameter *parameter, const char *value)
{
  int choice = find_choice (parameter, value);

  if (choice == -1)
    return -1;
  *(bool *) parameter->target = choice == 1;
  return 0;
}

static int
parse_adopt (const struct parameter *parameter, const char *value)
{
  return adopt_parse (value, parameter->target);
}

/* clang-format off */
static const struct parameter table[] = {
  { "size", "SIZE|PERCENT%|max",
    "(required) How much VRAM to serve at most",
    parse_size, .target = &parameters.size },
  { "min-size", "SIZE",
    "Do not start with less, default 512M",
    parse_bytes, .target = &parameters.min_size,
    .min = BLOCK_SIZE, .max = UINT64_MAX,
    .is_set = &parameters.min_size_set },
  { "headroom", "SIZE",
    "VRAM to leave free for other programs, default 0",
    parse_bytes, .target = &parameters.headroom,
    .min = 0, .max = UINT64_MAX },
  { "elastic", "no|yes",
    "Hold only the VRAM that is used, default no",
    parse_bool, .target = &parameters.elastic },
  { "limit", "SIZE",
    "VRAM that elastic=yes holds at most, default all",
    parse_bytes, .target = &parameters.limit,
    .min = GRANULARITY, .max = UINT64_MAX,
    .is_set = &parameters.limit_set },
  { "spill", "DIR|none",
    "Folder for the spill file, default none",
    parse_text, .target = &parameters.spill },
  { "device", "N|NAME|UUID|PCI",
    "Which GPU, default the one with most free VRAM",
    parse_text, .target = &parameters.device },
  { "lanes", "N",
    "DMA queues, default from the number of CPUs",
    parse_number, .target = &parameters.copies.queues,
    .min = 1, .max = DMA_QUEUES_MAX },
  { "staging", "SIZE",
    "Pinned memory of each DMA queue, default 1M",
    parse_staging, .target = &parameters.copies.staging,
    .min = STAGING_MIN, .max = STAGING_MAX },
  { "window", "auto|yes|no",
    "Let the CPU copy to VRAM itself, default auto",
    parse_enum, .target = &parameters.copies.mapping },
  { "window-read-max", "SIZE",
    "Larger reads go by DMA, default as measured",
    parse_bytes, .target = &parameters.copies.read_max,
    .min = 0, .max = UINT64_MAX,
    .is_set = &parameters.copies.read_max_set },
  { "resident", "no|auto|yes|required",
    "Stay in RAM when memory is short, default auto",
    parse_enum, .target = &parameters.resident },
  { "scrub", "no|yes",
    "Overwrite VRAM at the end, default yes",
    parse_bool, .target = &parameters.scrub },
  { "boost", "no|yes",
    "Keep the GPU's clocks up while idle, default no",
    parse_bool, .target = &parameters.copies.boost },
  { "gpu-timeout", "SECONDS",
    "Seconds until a silent GPU is lost, default 20",
    parse_seconds, .target = &parameters.gpu_timeout_ms,
    .min = 1, .max = 3600 },
  { "allow", "owner|any",
    "Who may connect, default root and the owner",
    parse_bool, .target = &parameters.allow_any },
  { "handover", "auto|yes|no",
    "Leave the disk to a later server, default auto",
    parse_enum, .target = &parameters.handover, .old_name = "store" },
  { "adopt", "FD:NAME,...",
    "Take over the disk of an earlier server",
    parse_adopt, .target = &parameters.adopt },
};
/* clang-format on */
#define PARAMETERS (sizeof table / sizeof table[0])

/* How each parameter is on the command line; NULL if it is not. */
static struct {
  const char *name; /* may be the old one */
  const char *value;
} given[PARAMETERS];

char parameters_help[80 * PARAMETERS];

/* Runs before nbdkit copies the plugin's fields. */
static void __attribute__ ((constructor)) write_help (void)
{
  char left[40];
  size_t n = 0;

  for (size_t i = 0; i < PARAMETERS; ++i) {
    snprintf (left, sizeof left, "%s=%s", table[i].name, table[i].values);
    n += (size_t) snprintf (parameters_help + n, sizeof parameters_help - n,
                            "%s%-29s %s", i == 0 ? "" : "\n", left,
                            table[i].help);
  }
}

/* The name of PARAMETER that is KEY, NULL if none is. */
static const char *
match_name (const struct parameter *parameter, const char *key)
{
  if (strcmp (parameter->name, key) == 0)
    return parameter->name;
  if (parameter->old_name && strcmp (parameter->old_name, key) == 0)
    return parameter->old_name;
  return NULL;
}

int
parameters_parse (const char *key, const char *value)
{
  struct parameter parameter;
  const char *name = NULL;
  size_t i = 0;

  while (i < PARAMETERS && (name = match_name (&table[i], key)) == NULL)
    ++i;
  if (i == PARAMETERS) {
    log_error ("unknown parameter '%s'; nbdkit %s --help lists all", key,
               PLUGIN_NAME);
    return -1;
  }
  if (given[i].name) {
    log_error ("%s=%s and %s=%s: a parameter can be given only once",
               given[i].name, given[i].value, name, value);
    return -1;
  }
  /* Messages have the name that was given. */
  parameter = table[i];
  parameter.name = name;
  if (parameter.parse (&parameter, value) == -1)
    return -1;
  given[i].name = name;
  given[i].value = value;
  if (parameter.is_set)
    *parameter.is_set = true;
  return 0;
}

int
parameters_check (void)
{
  const struct parameters *p = &parameters;

  if (p->size.kind == SIZE_UNSET) {
    log_error ("size= is missing: how much VRAM to serve, such as size=7G, "
               "size=80%% or size=max");
    return -1;
  }
  if ((p->limit_set || strcmp (p->spill, "none") != 0) && !p->elastic &&
      !p->adopt.wanted) {
    log_error ("%s needs elastic=yes", p->limit_set ? "limit=" : "spill=");
    return -1;
  }
  /* An adopted disk keeps its size. */
  if (!parameters.adopt.wanted && p->size.kind == SIZE_BYTES &&
      p->min_size_set && p->min_size > p->size.bytes) {
    log_error ("min-size=%s is more than size=%s", SIZE_STR (p->min_size),
               SIZE_STR (p->size.bytes));
    return -1;
  }
  return 0;
}
