#!/usr/bin/env bash
# nbdkit-vram: staging=SIZE determines the pieces of large requests
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# pieces STAGING: prints how many copies 1 MiB takes.
pieces ()
{
  start_vram size=64M window=no staging="$1"
  local before
  before=$(calls cuMemcpyHtoDAsync_v2)
  nbdsh -u "$uri" -c '
data = bytes (range (1, 256)) * 4113
data = data[:1 << 20]
h.pwrite (data, 0)
assert h.pread (1 << 20, 0) == data
'
  got=$(($(calls cuMemcpyHtoDAsync_v2) - before))
  stop_vram
}

# The buffer has two halves, one of which fills while the other one empties. It
# is rounded down to 8 KiB.
pieces 8K
[ "$got" -eq 256 ]
pieces 15K
[ "$got" -eq 256 ]
pieces 512K
[ "$got" -eq 4 ]
pieces 64M
[ "$got" -eq 1 ]
