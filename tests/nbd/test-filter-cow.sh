#!/usr/bin/env bash
# nbdkit-vram: with the cow filter no write reaches VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_filter cow
requires_nbdsh
requires_standin

start_vram "$(filter cow)" size=16M window=no
before=$(calls cuMemcpyHtoDAsync_v2)
nbdsh -u "$uri" -c '
h.pwrite (b"c" * 70000, 1000)
assert h.pread (70002, 999) == b"\0" + b"c" * 70000 + b"\0"
'
[ "$(calls cuMemcpyHtoDAsync_v2)" -eq "$before" ]
stop_vram
