#!/usr/bin/env bash
# nbdkit-vram: when the mapping fails under load, no request fails and no byte
# is wrong
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh
requires_program "$FIO"
"$FIO" --enghelp | grep -qw nbd || skip "this fio has no nbd engine"

export STANDIN_VULKAN_FAULT_FILE=$tmp/fault
start_vram size=64M window=yes window-read-max=1M

# fio would accept data of an earlier run, so the disk is trimmed before each.
verify ()
{
  nbdsh -u "$uri" -c 'h.trim (h.get_size (), 0)'
  timeout "$patience" "$FIO" --name=verify --ioengine=nbd --uri="$uri" \
    --rw=randwrite --size=16M --numjobs=3 \
    --offset_increment=16M --bsrange=512-128k --blockalign=512 --iodepth=8 \
    --verify=crc32c --verify_state_save=0 --verify_fatal=1 \
    --do_verify=1 --randrepeat=0 --output="$tmp/fio.out" || {
    cat "$tmp/fio.out"
    fail "fio: see above"
  }
}

cd "$tmp"
(
  sleep 1
  touch "$tmp/fault"
) &
# Repeat until the fault has occurred, and once more.
for ((i = 0; i < 1000; i++)); do
  ! grep -q "copies go by DMA alone" "$log" || break
  verify
done
verify
expect_log_times 1 "copies go by DMA alone"
stop_vram
