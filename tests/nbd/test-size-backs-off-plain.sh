#!/usr/bin/env bash
# nbdkit-vram: when VRAM is short the size is lowered, also with a driver that
# cannot allocate chunks
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=4G STANDIN_CUDA_USED=1696M STANDIN_CUDA_GARBAGE=1M \
  STANDIN_CUDA_NO_VMM=1
start_vram size=3G
[ "$(nbdinfo --size "$uri")" -eq $((2 << 30)) ]
expect_log_times 1 \
  "warning: VRAM is short: asked for 3 GiB of Stand-in GPU 0, got 2 GiB"
stop_vram
