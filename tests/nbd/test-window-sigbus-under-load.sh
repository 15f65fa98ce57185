#!/usr/bin/env bash
# nbdkit-vram: when the mapping fails under load, no request fails and no byte
# is wrong
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh
requires_fio

export STANDIN_VULKAN_FAULT_FILE=$tmp/fault

# fio would accept data of an earlier run, so the disk is trimmed before each.
verify ()
{
  nbdsh -u "$uri" -c 'h.trim (h.get_size (), 0)'
  fio_verify --rw=randwrite --size=16M --numjobs=3 --offset_increment=16M \
    --bsrange=512-128k --iodepth=8
}

for elastic in no yes; do
  rm -f "$tmp/fault"
  start_vram size=64M window=yes window-read-max=1M elastic=$elastic
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
done
