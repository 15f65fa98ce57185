#!/usr/bin/env bash
# nbdkit-vram: the server leaves as much VRAM free as headroom= says
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# 1000 MiB are free without the canary, and 200 MiB must stay free.
export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_USED=22M STANDIN_CUDA_GARBAGE=1M
start_vram size=max headroom=200M
[ "$(nbdinfo --size "$uri")" -eq $((768 << 20)) ]
stop_vram

# 900 MiB and a headroom of 200 MiB do not fit. One step of 512 MiB gives 388
# MiB, which fits.
start_vram size=900M headroom=200M min-size=256M
[ "$(nbdinfo --size "$uri")" -eq $((388 << 20)) ]
expect_log_times 1 \
  "warning: VRAM is short: asked for 900 MiB of Stand-in GPU 0, got 388 MiB"
stop_vram

refuses_to_start \
  "VRAM is short: 1000 MiB are free, headroom=600 MiB must stay .*512 M" \
  size=900M headroom=600M
clean_report

refuses_to_start "headroom" size=16M headroom=-1
refuses_to_start "headroom" size=16M headroom=10%

# If the GPU has less in all, the message does not speak of free VRAM.
refuses_to_start \
  "headroom=7340032 TiB is more than the 1 GiB of VRAM that the GPU has" \
  size=max headroom=7E
