#!/usr/bin/env bash
# nbdkit-vram: with less than 512 MiB of VRAM free, a larger disk does not
# start
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=4G STANDIN_CUDA_USED=3498M STANDIN_CUDA_GARBAGE=1M
# 596 MiB are free without the canary: the last step ends at the minimum.
start_vram size=1300M
[ "$(nbdinfo --size "$uri")" -eq $((512 << 20)) ]
stop_vram

# 496 MiB are free.
export STANDIN_CUDA_USED=3598M
refuses_to_start \
  "VRAM is short: 496 MiB are free, headroom=0 bytes .* min-size=512 MiB is" \
  size=1300M
clean_report

# A smaller disk is its own minimum.
start_vram size=400M
[ "$(nbdinfo --size "$uri")" -eq $((400 << 20)) ]
stop_vram
