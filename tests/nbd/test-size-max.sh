#!/usr/bin/env bash
# nbdkit-vram: size=max is all VRAM that is free beside the canary, less 32 MiB
# that mappings may take
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_USED=298M STANDIN_CUDA_GARBAGE=1M
start_vram size=max
[ "$(nbdinfo --size "$uri")" -eq $((692 << 20)) ]
# It is what was asked for, so there is nothing to warn of.
expect_no_log "VRAM is short"
stop_vram

# What is free need not be whole units of allocation: that costs one of them,
# and not a step of 512 MiB.
export STANDIN_CUDA_USED=$(((298 << 20) + 4096))
start_vram -v size=max
[ "$(nbdinfo --size "$uri")" -eq $((690 << 20)) ]
expect_no_log "trying less"
stop_vram
