#!/usr/bin/env bash
# nbdkit-vram: a device= that matches no GPU is refused, with a list of the
# GPUs
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_DEVICES=2
for device in 2 17 99999999999999999999 -1 "" Radeon \
  GPU-57a4d1ed-0000-4000-8000-000000000009 0000:03:00.0 0000:01:00.1; do
  refuses_to_start "device=$device: no such GPU" size=8M \
    device="$device"
  expect_log_times 2 \
    "available: device=[01]: Stand-in GPU [01], GPU-[-0-9a-f]*, 0000:0[12]:00"
  clean_report
done
