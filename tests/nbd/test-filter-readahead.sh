#!/usr/bin/env bash
# nbdkit-vram: data is right with the readahead filter, which sends cache
# requests
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_filter readahead
requires_nbdsh

start_vram "$(filter readahead)" size=16M
nbdsh -u "$uri" -c '
h.pwrite (bytes (range (256)) * 16384, 0)
for i in range (0, 4 << 20, 65536):
    assert h.pread (65536, i) == bytes (range (256)) * 256
'
stop_vram
