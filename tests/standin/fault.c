/* nbdkit-vram: the faults that a test injects into the stand-in driver
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "standin.h"

#define MAX_RULES 64

struct rule {
  char name[64];
  uint64_t first, last; /* of the calls that match, from 1 */
  double probability;   /* used if last is 0 */
  uint64_t calls;
  CUresult code;
};

/* The rules of FAIL, then those of FAIL_FILE. */
static struct rule rules[MAX_RULES];
static unsigned int nr_rules;
static uint64_t random_state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Atomic int lost[MAX_DEVICES];
static atomic_bool hung;
static _Atomic uint64_t copies;
static atomic_uint hung_calls; /* how many calls were made to hang */
static atomic_uint failed;     /* how many calls a rule made fail */

/* Set by fault_hang and fault_hang_calls. */
static atomic_bool told_to_hang;
static const char *_Atomic told_to_hang_calls;
/* Lets calls skip the lock if there is no fault to inject. */
static atomic_bool any_rules;

static struct rule *
add_rule (const char *name, const char *code)
{
  struct rule *r;

  if (nr_rules == MAX_RULES)
    settings_fatal ("more than %d faults", MAX_RULES);
  r = &rules[nr_rules++];
  memset (r, 0, sizeof *r);
  snprintf (r->name, sizeof r->name, "%s", name);
  r->code = parse_code ("FAIL", code);
  atomic_store (&any_rules, true);
  return r;
}

/* WHICH is N, N+, N-M or pP. */
static void
parse_which (struct rule *r, char *which)
{
  char *p, *end;

  if (which[0] == 'p') {
    r->probability = strtod (which + 1, &end);
    if (*end || end == which + 1 || r->probability < 0 || r->probability > 1)
      settings_fatal ("FAIL: not a probability: '%s'", which);
    return;
  }
  if ((p = strchr (which, '-')) != NULL) {
    *p = 0;
    r->last = settings_number ("FAIL", p + 1);
  }
  else if ((p = strchr (which, '+')) != NULL) {
    if (p[1])
      settings_fatal ("FAIL: text after '+'");
    *p = 0;
    r->last = UINT64_MAX;
  }
  r->first = settings_number ("FAIL", which);
  if (!r->last)
    r->last = r->first;
  if (r->first == 0 || r->last < r->first)
    settings_fatal ("FAIL: calls count from 1 upwards");
}

static void
check_name (const char *name)
{
  int i;

  for (i = 0; i < FN_COUNT; i++) {
    const char *fn = function_names[i];
    size_t len = strlen (name);

    if (fnmatch (name, fn, 0) == 0 ||
        (strncmp (name, fn, len) == 0 && strcmp (fn + len, "_v2") == 0))
      return;
  }
  settings_fatal ("FAIL: no such function: '%s'", name);
}

static bool
name_matches (const char *name, const char *fn)
{
  char plain[64];
  size_t len = strlen (fn);

  if (fnmatch (name, fn, 0) == 0)
    return true;
  if (len < 3 || strcmp (fn + len - 3, "_v2") != 0)
    return false;
  snprintf (plain, sizeof plain, "%.*s", (int) len - 3, fn);
  return fnmatch (name, plain, 0) == 0;
}

void
fault_load (void)
{
  char *copy, *item, *save = NULL, *which, *code;

  random_state = config.seed * 0x9e3779b97f4a7c15ULL + 1;
  if (config.init_fail) {
    copy = strdup (config.init_fail);
    if (!copy || !(code = strchr (copy, ':')))
      settings_fatal ("INIT_FAIL: not K:CODE: '%s'", config.init_fail);
    *code++ = 0;

    struct rule *r = add_rule ("cuInit", code);

    r->first = 1;
    r->last = strcmp (copy, "all") == 0 ? UINT64_MAX
                                        : settings_number ("INIT_FAIL", copy);
    free (copy);
  }
  if (config.fail) {
    copy = strdup (config.fail);
    if (!copy)
      settings_fatal ("out of memory");
    for (item = strtok_r (copy, ",", &save); item;
         item = strtok_r (NULL, ",", &save)) {
      which = strchr (item, ':');
      code = which ? strchr (which + 1, ':') : NULL;
      if (!code)
        settings_fatal ("FAIL: not NAME:WHICH:CODE: '%s'", item);
      *which++ = 0;
      *code++ = 0;
      check_name (item);
      parse_which (add_rule (item, code), which);
    }
    free (copy);
  }
}

/* Reads the lines of FAIL_FILE; under the lock. */
static void
read_fail_file (void)
{
  char name[64], count[32], code[64];
  FILE *fp = fopen (config.fail_file, "re");

  if (!fp)
    return;
  while (fscanf (fp, "%63s %31s %63s", name, count, code) == 3) {
    struct rule *r;

    check_name (name);
    r = add_rule (name, code);
    r->first = 1;
    r->last = strcmp (count, "all") == 0
                  ? UINT64_MAX
                  : settings_number ("FAIL_FILE", count);
  }
  fclose (fp);
  if (unlink (config.fail_file) == -1)
    settings_fatal ("FAIL_FILE: %s: %m", config.fail_file);
}

void
fault_fail (const char *name, unsigned nth, CUresult code)
{
  struct rule *r;

  char number[16];

  pthread_mutex_lock (&lock);
  if (name) {
    check_name (name);
    snprintf (number, sizeof number, "%d", code);
    r = add_rule (name, number);
    r->first = nth ? nth : 1;
    r->last = nth ? nth : UINT64_MAX;
  }
  else {
    atomic_store (&failed, 0);
    nr_rules = 0;
  }
  pthread_mutex_unlock (&lock);
}

unsigned
fault_failed (void)
{
  return atomic_load (&failed);
}

void
fault_hang (bool hang)
{
  atomic_store (&told_to_hang, hang);
  for (int i = 0; i < config.devices; i++)
    stream_wake (&contexts[i]);
}

void
fault_hang_calls (const char *name)
{
  atomic_store (&told_to_hang_calls, name);
}

static double
random_unit (void)
{
  /* xorshift64; the low bits are dropped. */
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (double) (random_state >> 11) / (double) (1ULL << 53);
}

/* Whether this call hangs.  HANGS: it has hung until now.  Takes no lock,
 * because a signal may take the thread out of a call that hangs.
 */
static bool
call_hangs (enum function fn, bool hangs)
{
  unsigned int most = UINT_MAX;
  char name[64] = "", text[128];
  const char *told = atomic_load (&told_to_hang_calls);
  ssize_t n;
  int fd;

  if (told)
    return name_matches (told, function_names[fn]);
  if (!config.hang_call_file)
    return false;
  fd = open (config.hang_call_file, O_RDONLY | O_CLOEXEC);

  if (fd == -1)
    return false;
  n = read (fd, text, sizeof text - 1);
  close (fd);
  text[n > 0 ? n : 0] = 0;
  if (sscanf (text, "%63s %u", name, &most) < 1)
    return false;
  if (!name_matches (name, function_names[fn]))
    return false;
  return hangs || atomic_fetch_add (&hung_calls, 1) < most;
}

CUresult
fault_call (enum function fn)
{
  CUresult result = CUDA_SUCCESS;
  bool hangs = false;
  unsigned int i;

  while ((hangs = call_hangs (fn, hangs)))
    usleep (2000);
  if (config.fail_file && access (config.fail_file, F_OK) == 0) {
    pthread_mutex_lock (&lock);
    read_fail_file ();
    pthread_mutex_unlock (&lock);
  }
  if (!atomic_load (&any_rules))
    return CUDA_SUCCESS;
  pthread_mutex_lock (&lock);
  for (i = 0; i < nr_rules; i++) {
    struct rule *r = &rules[i];

    if (!name_matches (r->name, function_names[fn]))
      continue;
    r->calls++;
    if (r->last == 0 ? random_unit () < r->probability
                     : r->calls >= r->first && r->calls <= r->last) {
      result = r->code;
      atomic_fetch_add (&failed, 1);
      break;
    }
  }
  pthread_mutex_unlock (&lock);
  return result;
}

bool
fault_any_trigger (void)
{
  return config.lose_file || config.hang_file;
}

void
fault_poll (void)
{
  bool now;
  int i;

  if (config.lose_file && !fault_any_lost () &&
      access (config.lose_file, F_OK) == 0)
    fault_lose (-1, config.lose_code);
  if (config.hang_file) {
    now = access (config.hang_file, F_OK) == 0;
    if (atomic_exchange (&hung, now) != now)
      for (i = 0; i < config.devices; i++)
        stream_wake (&contexts[i]);
  }
}

CUresult
fault_lost (int dev)
{
  return atomic_load (&lost[dev]);
}

CUresult
fault_any_lost (void)
{
  int i;

  for (i = 0; i < config.devices; i++)
    if (atomic_load (&lost[i]))
      return atomic_load (&lost[i]);
  return CUDA_SUCCESS;
}

void
fault_lose (int dev, CUresult code)
{
  int i, none;

  for (i = 0; i < config.devices; i++) {
    if (dev == -1 ? config.lose_device != -1 && config.lose_device != i
                  : dev != i)
      continue;
    none = CUDA_SUCCESS;
    if (atomic_compare_exchange_strong (&lost[i], &none, code))
      stream_wake (&contexts[i]);
  }
}

uint64_t
fault_number_copy (void)
{
  return atomic_fetch_add (&copies, 1) + 1;
}

bool
fault_hung (uint64_t number)
{
  return atomic_load (&hung) || atomic_load (&told_to_hang) ||
         (config.hang_copy && number >= config.hang_copy);
}
