/* nbdkit-vram: lets a test in the same process control the stand-in driver
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include "standin.h"

static void
set_devices (int count)
{
  config.devices = count;
}

static int
peek (uint64_t address, void *buf, size_t size)
{
  struct work work = {
    .kind = WORK_TO_HOST, .dev = address, .host = buf, .size = size
  };

  return copy_execute (&contexts[0], &work);
}

static int
poke (uint64_t address, const void *buf, size_t size)
{
  struct work work = { .kind = WORK_TO_DEVICE,
                       .dev = address,
                       .host = (void *) (uintptr_t) buf,
                       .size = size };

  return copy_execute (&contexts[0], &work);
}

EXPORT const struct standin_control standin_control = {
  .fail = fault_fail,
  .failed = fault_failed,
  .lose = fault_lose,
  .hang = fault_hang,
  .hang_calls = fault_hang_calls,
  .on_not_ready = stream_on_not_ready,
  .set_devices = set_devices,
  .calls = trace_calls,
  .pending = stream_pending,
  .most_busy = stream_most_busy,
  .held = report_held,
  .peek = peek,
  .poke = poke,
};
