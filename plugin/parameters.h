/* nbdkit-vram: parameters of the command line
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef VRAM_PARAMETERS_H
#define VRAM_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/memlock.h"
#include "disk/provider.h"
#include "handover/adopt.h"
#include "handover/handover.h"
#include "size.h"

/* The values of the command line.  Written before nbdkit forks, then only
 * read.
 */
struct parameters {
  struct size size;
  uint64_t min_size;  /* bytes */
  uint64_t headroom;  /* bytes of VRAM to leave free */
  const char *device; /* as for devices_find; NULL: the one with most free */
  const char *spill;  /* folder for the spill file, or "none" */
  uint64_t limit;     /* bytes of VRAM to hold at most, if limit_set */
  struct provider_options copies;
  struct adopt adopt;
  unsigned init_wait_ms;   /* how long to wait for the driver to initialise */
  unsigned gpu_timeout_ms; /* for watchdog_start */
  enum memlock resident;
  enum handover handover;
  bool min_size_set; /* false: MIN_SIZE_DEFAULT, or the size if that is less */
  bool limit_set;
  bool elastic;   /* hold only VRAM that is used */
  bool scrub;     /* overwrite VRAM before it is freed */
  bool allow_any; /* allow=any: serve clients of any user and any address */
};
extern struct parameters parameters;

#define STAGING_DEFAULT  (1 * MiB)
#define MIN_SIZE_DEFAULT (512 * MiB)

/* One line for each parameter, for nbdkit --help. */
extern char parameters_help[];

/* Take the parameter KEY with VALUE, which must remain valid.  Returns 0, or
 * -1 after log_error.
 */
extern int parameters_parse (const char *key, const char *value);

/* Call after the last parameter: check what must hold between parameters and
 * can be checked without a GPU.  Returns 0, or -1 after log_error.
 */
extern int parameters_check (void);

/* Parse VALUE of the parameter KEY: a size as nbdkit_parse_size takes it, a
 * percentage such as "80%", or "max".  Returns 0, or -1 after log_error.
 */
extern int size_parse (const char *key, const char *value, struct size *size);

/* Parse VALUE of the parameter KEY as a plain size of MIN to MAX bytes.
 * Returns 0, or -1 after log_error.
 */
extern int size_parse_bytes (const char *key, const char *value, uint64_t min,
                             uint64_t max, uint64_t *bytes);

#endif /* VRAM_PARAMETERS_H */
