#!/usr/bin/env bash
# nbdkit-vram: if the CPU can map VRAM, copies go through the mapping, and the
# measured sizes are logged
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size=64M >"$tmp/dump"
grep -qx "vram_window=yes" "$tmp/dump"
! grep "vram_window_reason" "$tmp/dump" || fail "there is a reason"

start_vram -v -D"$PLUGIN_NAME.copies"=1 size=160M window=yes \
  window-read-max=16K
expect_no_log "a chunk goes by DMA alone"
expect_log "mapping: serves writes of up to .*, reads of up to 16(\.0)? KiB"
nbdsh -u "$uri" -c '
import random
random.seed (1)
data = random.randbytes (300000)
# Across the border of two chunks, with both ends unaligned.
at = (64 << 20) - 150001
h.pwrite (data, at)
for i in range (0, len (data) - 16384, 16384):
    assert h.pread (16384, at + i) == data[i:i + 16384]
assert h.pread (len (data), at) == data
assert h.pread (len (data) + 100, at - 50) == bytes (50) + data + bytes (50)
'
expect_log "mapping: read 16384 bytes"
expect_log "queue [0-9]+: read [0-9]{6} bytes"
stop_vram

# With window=no it is not used.
start_vram -v -D"$PLUGIN_NAME.copies"=1 size=16M window=no
nbdsh -u "$uri" \
  -c 'h.pwrite (b"x" * 4096, 0); assert h.pread (4096, 0) == b"x" * 4096'
expect_no_log "mapping: "
stop_vram

# DMA only, although there is a mapping.
start_vram -v -D"$PLUGIN_NAME.copies"=1 -D"$PLUGIN_NAME.window_write_max"=-1 \
  size=16M window-read-max=0
nbdsh -u "$uri" \
  -c 'h.pwrite (b"x" * 4096, 0); assert h.pread (4096, 0) == b"x" * 4096'
expect_log "mapping: serves writes of up to 0"
# No request uses the mapping. (Lines about requests have a thread's number.)
expect_no_log "\.[0-9]+: debug: mapping: (read|write) "
stop_vram
