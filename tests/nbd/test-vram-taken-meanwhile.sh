#!/usr/bin/env bash
# nbdkit-vram: the disk gets smaller when other programs take VRAM before the
# allocation
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# 2 GiB, less the canary, are free at first. Right after that another program
# takes 900 MiB.
export STANDIN_CUDA_MEMORY=2050M STANDIN_CUDA_SHRINK=900M \
  STANDIN_CUDA_GARBAGE=1M
start_vram size=max
[ "$(nbdinfo --size "$uri")" -eq $((992 << 20)) ]
stop_vram

start_vram size=2G
[ "$(nbdinfo --size "$uri")" -eq $((1024 << 20)) ]
expect_log_times 1 \
  "warning: VRAM is short: asked for 2 GiB of Stand-in GPU 0, got 1 GiB"
stop_vram

# Another program takes all.
export STANDIN_CUDA_SHRINK=2G
refuses_to_start "VRAM is short: 0 bytes are free" size=max
clean_report
