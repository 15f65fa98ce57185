#!/usr/bin/env bash
# nbdkit-vram: the stats filter counts the requests
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_filter stats
requires_nbdsh

start_vram "$(filter stats)" size=16M statsfile="$tmp/stats"
nbdsh -u "$uri" -c '
for i in range (10):
    h.pwrite (b"s" * 4096, i * 4096)
    h.pread (4096, i * 4096)
'
stop_vram
grep -E '^write: 10 ops' "$tmp/stats"
grep -E '^read: 10 ops' "$tmp/stats"
