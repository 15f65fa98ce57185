#!/usr/bin/env bash
# nbdkit-vram: fio reads back every byte that it wrote, in requests of mixed
# sizes, at random and in order
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program "$FIO"
requires_nbdsh
"$FIO" --enghelp | grep -qw nbd || skip "this fio has no nbd engine"

start_vram size=64M
# fio would accept data of an earlier run, so the disk is trimmed between runs.
round ()
{
  local pattern
  for pattern in randwrite write; do
    timeout "$patience" "$FIO" --name=verify --ioengine=nbd --uri="$uri" \
      --rw="$pattern" --size=64M \
      --bsrange=512-256k --blockalign=512 --iodepth=16 --verify=crc32c \
      --verify_state_save=0 --verify_fatal=1 \
      --do_verify=1 --randrepeat=0 --end_fsync=1 --output="$tmp/fio.out" || {
      cat "$tmp/fio.out"
      fail "fio: see above"
    }
    nbdsh -u "$uri" -c 'h.trim (64 << 20, 0)'
  done
}
soak round
stop_vram
