#!/usr/bin/env bash
# nbdkit-vram: a cache request is answered and costs nothing
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
h.pwrite (b"c" * 4096, 0)
h.cache (16 << 20, 0)
h.cache (1, 4095)
'
stop_vram
