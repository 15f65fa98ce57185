#!/usr/bin/env bash
# nbdkit-vram: VRAM is overwritten when the server ends, also what was trimmed
# before
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# stop_vram looks at what stood in VRAM when it was freed.
for signal in TERM INT QUIT; do
  start_vram size=16M
  nbdsh -u "$uri" -c '
h.pwrite (b"secret" * 100000, 12345)
h.trim (1 << 19, 0)
'
  end_server "$signal"
  [ "$status" -eq 0 ]
  clean_report
done
