#!/usr/bin/env bash
# nbdkit-vram: VRAM comes in chunks of 64 MiB, never more than 128 of them
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=64G STANDIN_CUDA_GARBAGE=4K
# The last chunk has the rest, rounded up to 2 MiB.
start_vram -v size=131M window=no
expect_log "allocated $((131 << 20)) bytes of VRAM in 3 chunks of 64 MiB"
# One more chunk is for trying copies.
[ "$(calls cuMemCreate)" -eq 4 ]
stop_vram

start_vram -v size=8G window=no
expect_log "in 128 chunks of 64 MiB"
stop_vram

start_vram -v size=8193M window=no
expect_log "in 65 chunks of 128 MiB"
[ "$(calls cuMemCreate)" -eq 66 ]
stop_vram
