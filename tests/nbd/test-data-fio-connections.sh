#!/usr/bin/env bash
# nbdkit-vram: fio reads back what it wrote over 4 connections at once, each in
# its own part of the disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program "$FIO"
"$FIO" --enghelp | grep -qw nbd || skip "this fio has no nbd engine"

# The parts end inside of a block, so that two connections write to it.
start_vram size=64M
timeout "$patience" "$FIO" --name=verify --ioengine=nbd --uri="$uri" \
  --rw=randrw --rwmixread=30 \
  --numjobs=4 --thread --offset_increment=16776704 --size=16776704 \
  --bsrange=512-64k --blockalign=512 \
  --iodepth=16 --verify=crc32c --verify_state_save=0 --verify_fatal=1 \
  --do_verify=1 --verify_backlog=256 --io_size=16m \
  --randrepeat=0 --output="$tmp/fio.out" || {
  cat "$tmp/fio.out"
  fail "fio: see above"
}
stop_vram
