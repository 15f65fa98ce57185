#!/usr/bin/env bash
# nbdkit-vram: -D vram.copies=1 shows each copy
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

# Copies by mapping or DMA, and by DMA only.
for window in auto no; do
  start_vram -v -D"$PLUGIN_NAME.copies=1" size=16M window="$window"
  nbdsh -u "$uri" -c '
h.pwrite (b"c" * 12288, 4096)
h.pread (8192, 4096)
'
  stop_vram
  expect_log "debug: .*write 12288 bytes"
  expect_log "debug: .*read 8192 bytes"

  # Without the flag it logs no copy.
  start_vram -v size=16M window="$window"
  nbdsh -u "$uri" -c 'h.pwrite (b"c" * 12288, 4096)'
  stop_vram
  expect_no_log "write 12288 bytes"
done
