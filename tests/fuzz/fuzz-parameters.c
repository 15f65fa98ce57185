/* nbdkit-vram: fuzzes parameters, sizes and names of devices
 * SPDX-License-Identifier: BSD-3-Clause
 */

/* The source file, so that earlier parameters can be reset. */
/* NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../plugin/parameters.c"

#include "../unit/nbdkit-stubs.h"
#include "gpu/devices.h"
#include "fuzz.h"

static const char *const keys[] = {
  "size",    "min-size", "headroom",        "device",      "lanes",
  "staging", "window",   "window-read-max", "gpu-timeout", "resident",
  "scrub",   "allow",    "elastic",         "limit",       "spill",
};
#define KEYS (sizeof keys / sizeof keys[0])

/* Reads a line of the input, up to a newline or a zero, to BUF. */
static void
take_line (struct input *input, char *buf, size_t size)
{
  size_t n = 0;
  char c;

  while (input->left > 0) {
    c = (char) take_byte (input);
    if (c == '\n' || c == '\0')
      break;
    if (n + 1 < size)
      buf[n++] = c;
  }
  buf[n] = '\0';
}

static void
check_options (void)
{
  const struct provider_options *copies = &parameters.copies;
  uint64_t bytes;

  MUST (copies->queues <= DMA_QUEUES_MAX);
  MUST (copies->staging >= STAGING_MIN && copies->staging <= STAGING_MAX);
  MUST (copies->staging % STAGING_MIN == 0);
  MUST (parameters.gpu_timeout_ms >= 1000 &&
        parameters.gpu_timeout_ms <= 3600000);
  MUST (copies->mapping <= MAPPING_NO &&
        parameters.resident <= MEMLOCK_REQUIRED);
  MUST (!parameters.min_size_set || parameters.min_size >= BLOCK_SIZE);
  MUST (parameters.size.kind != SIZE_BYTES ||
        parameters.size.bytes >= BLOCK_SIZE);
  MUST (parameters.size.kind != SIZE_PERCENT ||
        (parameters.size.percent > 0 && parameters.size.percent <= 100));
  if (size_resolve (&parameters.size, 8 * GiB, 6 * GiB, parameters.headroom,
                    &bytes) == 0)
    MUST (bytes <= 8 * GiB && bytes % BLOCK_SIZE == 0);
}

/* Finds a GPU by the words of the input. */
static void
find_gpu (const char *spec)
{
  static struct device list[] = {
    { .index = 0,
      .name = "NVIDIA A100-SXM4-40GB",
      .uuid = "GPU-00000000-0000-4000-8000-000000000000",
      .pci = "0000:01:00.0" },
    { .index = 1,
      .name = "NVIDIA A100-SXM4-80GB",
      .uuid = "GPU-11111111-0000-4000-8000-000000000000",
      .pci = "0001:01:00.0" },
    { .index = 2,
      .name = "GeForce",
      .uuid = "GPU-22222222-0000-4000-8000-000000000000",
      .pci = "0000:0a:00.0" },
  };
  const struct devices gpus = { .count = 3, .gpu = list };
  const struct device *gpu;

  stub_messages_clear ();
  gpu = devices_find (&gpus, spec);
  if (gpu)
    MUST (gpu >= list && gpu < list + 3 && stub_errors_count () == 0);
  else
    MUST (stub_errors_count () == 1 + gpus.count);
}

static void
forget_parameters (void)
{
  static struct parameters defaults;
  static bool known;

  if (!known)
    defaults = parameters;
  known = true;
  parameters = defaults;
  memset (given, 0, sizeof given);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct input input = { data, size };
  const char *key;
  char own_key[40], value[300];
  unsigned which;

  forget_parameters ();
  while (input.left > 0) {
    which = take_byte (&input) % (KEYS + 2);
    key = own_key;
    if (which < KEYS)
      key = keys[which];
    else if (which == KEYS)
      take_line (&input, own_key, sizeof own_key);
    take_line (&input, value, sizeof value);
    if (which == KEYS + 1) {
      find_gpu (value);
      continue;
    }
    stub_messages_clear ();
    if (parameters_parse (key, value) == 0) {
      MUST (stub_errors_count () == 0);
      /* A second time is an error. */
      MUST (parameters_parse (key, value) == -1);
      parameters_check ();
      check_options ();
    }
    else
      MUST (stub_errors_count () > 0);
    /* nbdkit keeps a value, but VALUE is reused. */
    forget_parameters ();
  }
  return 0;
}
