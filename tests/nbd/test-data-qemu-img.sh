#!/usr/bin/env bash
# nbdkit-vram: qemu-img converts an image onto the disk and finds no difference
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program qemu-img

random_file "$tmp/in" 3M
truncate -s 16M "$tmp/in"
start_vram size=16M
qemu-img convert -n -f raw -O raw "$tmp/in" "$uri"
qemu-img compare -f raw -F raw "$tmp/in" "$uri"
[ "$(map | awk '$3 == "data" { n += $2 } END { print n }')" -eq $((3 << 20)) ]
stop_vram
