#!/usr/bin/env bash
# nbdkit-vram: the disk has the size that was asked for
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

start_vram size=16M
[ "$(nbdinfo --size "$uri")" -eq $((16 << 20)) ]
stop_vram

# The parameter's name is optional.
start_vram 12M
[ "$(nbdinfo --size "$uri")" -eq $((12 << 20)) ]
stop_vram
