#!/usr/bin/env bash
# nbdkit-vram: the offset filter serves a part of the disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_filter offset
requires_nbdsh

start_vram "$(filter offset)" size=16M offset=1049000 range=2M
[ "$(nbdinfo --size "$uri")" -eq $((2 << 20)) ]
nbdsh -u "$uri" -c '
h.pwrite (b"o" * (2 << 20), 0)
assert h.pread (2 << 20, 0) == b"o" * (2 << 20)
h.zero (4096, 0)
assert h.pread (4097, 0) == bytes (4096) + b"o"
'
stop_vram
