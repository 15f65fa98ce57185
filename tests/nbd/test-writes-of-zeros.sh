#!/usr/bin/env bash
# nbdkit-vram: a write of zeros makes a hole and moves no data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

start_vram size=16M window=no
nbdsh -u "$uri" -c 'h.pwrite (b"w" * 65536, 0)'
before=$(calls cuMemcpyHtoDAsync_v2)
nbdsh -u "$uri" -c '
h.pwrite (bytes (1 << 20), 0)
assert h.pread (1 << 20, 0) == bytes (1 << 20)
'
[ "$(calls cuMemcpyHtoDAsync_v2)" -eq "$before" ]
[ "$(map)" = "0 $((16 << 20)) hole" ]

# A block with one byte that is not zero is data.
nbdsh -u "$uri" -c 'h.pwrite (bytes (8191) + b"w" + bytes (8192), 0)'
[ "$(map | head -n 3 | tr '\n' ';')" \
  = "0 4096 hole;4096 4096 data;8192 $(((16 << 20) - 8192)) hole;" ]
stop_vram
