#!/usr/bin/env bash
# nbdkit-vram: when the server ends, it overwrites all VRAM, also blocks that
# were trimmed
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# clean_report checks the content of VRAM when it was freed.
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
