#!/usr/bin/env bash
# nbdkit-vram: zeroing whole blocks copies no data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M window=no
[ -n "$VRAM_REAL_GPU" ] || before=$(calls cuMemcpyHtoDAsync_v2)
nbdsh -u "$uri" -c '
h.zero (16 << 20, 0, nbd.CMD_FLAG_FAST_ZERO)
assert h.pread (16 << 20, 0) == bytes (16 << 20)
'
[ -n "$VRAM_REAL_GPU" ] || [ "$(calls cuMemcpyHtoDAsync_v2)" -eq "$before" ]

nbdsh -u "$uri" -c '
h.pwrite (b"z" * (1 << 20), 0)
h.zero (1 << 20, 0, nbd.CMD_FLAG_FAST_ZERO)
h.zero (1000, 99, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
assert h.pread (1 << 20, 0) == bytes (1 << 20)
'
stop_vram
