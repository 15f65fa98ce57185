#!/usr/bin/env bash
# nbdkit-vram: the server does not start with less than min-size
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# 700 MiB are free without the canary.
export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_USED=322M STANDIN_CUDA_GARBAGE=1M
refuses_to_start \
  "VRAM is short: 700 MiB are free, .* min-size=701 MiB .*; stop programs" \
  size=1G min-size=701M
clean_report

# The last step is shorter, so that it ends at the minimum.
start_vram size=1G min-size=600M
[ "$(nbdinfo --size "$uri")" -eq $((600 << 20)) ]
expect_log_times 1 \
  "warning: VRAM is short: asked for 1 GiB of Stand-in GPU 0, got 600 MiB"
stop_vram

# It is the lower bound for size=max, too.
start_vram size=max min-size=700M
[ "$(nbdinfo --size "$uri")" -eq $((700 << 20)) ]
stop_vram
refuses_to_start "VRAM is short: 700 MiB are free" size=max min-size=704M
clean_report
