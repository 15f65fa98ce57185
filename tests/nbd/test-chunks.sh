#!/usr/bin/env bash
# nbdkit-vram: VRAM comes in chunks of 64 MiB, never more than 128 of them
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=64G STANDIN_CUDA_GARBAGE=4K
# The last chunk is what is left, up to the next 2 MiB.
start_vram -v size=131M window=no
expect_log "got $((131 << 20)) in 3 chunks of 64 MiB"
[ "$(calls cuMemCreate)" -eq 3 ]
stop_vram

start_vram -v size=8G window=no
expect_log "in 128 chunks of 64 MiB"
stop_vram

start_vram -v size=8193M window=no
expect_log "in 65 chunks of 128 MiB"
[ "$(calls cuMemCreate)" -eq 65 ]
stop_vram
