#!/usr/bin/env bash
# nbdkit-vram: when VRAM is short the size is lowered in steps of 512 MiB, and
# the log says so
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# 2400 MiB are free without the canary: 3 GiB and 2.5 GiB do not fit, 2 GiB do.
export STANDIN_CUDA_MEMORY=4G STANDIN_CUDA_USED=1694M STANDIN_CUDA_GARBAGE=1M
start_vram size=3G
[ "$(nbdinfo --size "$uri")" -eq $((2 << 30)) ]
expect_log_times 1 \
  "warning: VRAM is short: asked for 3 GiB of Stand-in GPU 0, got 2 GiB"
stop_vram

# A percentage that does not fit gives as much as size=max.
start_vram size=75%
[ "$(nbdinfo --size "$uri")" -eq $((2368 << 20)) ]
expect_log_times 1 \
  "warning: VRAM is short: asked for 3 GiB of Stand-in GPU 0, got 2.3 GiB"
stop_vram
