#!/usr/bin/env bash
# nbdkit-vram: random trims by fio empty one part of the disk, and another part
# keeps its data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_fio
requires_nbdsh

start_vram size=32M
nbdsh -u "$uri" -c 'h.pwrite (bytes (range (1, 256)) * 32896, 16 << 20)'
timeout "$patience" "$FIO" --name=trim --ioengine=nbd --uri="$uri" \
  --rw=randtrim --size=16M \
  --bsrange=4k-1m --iodepth=8 --randrepeat=0 --output="$tmp/fio.out"
[ "$(map | head -n 1)" = "0 $((16 << 20)) hole" ]
nbdsh -u "$uri" -c '
assert h.pread (255 * 32896, 16 << 20) == bytes (range (1, 256)) * 32896
assert h.pread (16 << 20, 0) == bytes (16 << 20)
'
stop_vram
