#!/usr/bin/env bash
# nbdkit-vram: lanes=N opens N streams, and the server serves with each N
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

for lanes in 1 3 64; do
  start_vram size=16M window=no lanes="$lanes"
  [ "$(calls cuStreamCreate)" -eq "$lanes" ]
  # There are more requests in flight than lanes.
  nbdsh -u "$uri" -c '
cookies = []
for i in range (100):
    cookies.append (h.aio_pwrite (bytearray ([i + 1]) * 5000, i * 5000))
while h.aio_in_flight () > 0:
    h.poll (-1)
for i, cookie in enumerate (cookies):
    assert h.aio_command_completed (cookie)
    assert h.pread (5000, i * 5000) == bytearray ([i + 1]) * 5000
'
  stop_vram
done

# The default depends on the number of CPUs, and is 4 to 16.
start_vram size=16M window=no
lanes=$(calls cuStreamCreate)
[ "$lanes" -ge 4 ]
[ "$lanes" -le 16 ]
stop_vram
