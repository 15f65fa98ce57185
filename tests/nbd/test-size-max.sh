#!/usr/bin/env bash
# nbdkit-vram: size=max takes all free VRAM but the canary and 32 MiB for
# mappings
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_USED=298M STANDIN_CUDA_GARBAGE=1M
start_vram size=max
[ "$(nbdinfo --size "$uri")" -eq $((692 << 20)) ]
# That is what was asked for, so there is no warning.
expect_no_log "VRAM is short"
stop_vram

# If free VRAM is no multiple of 2 MiB, the size is rounded down to one, and
# not lowered by a step of 512 MiB.
export STANDIN_CUDA_USED=$(((298 << 20) + 4096))
start_vram -v size=max
[ "$(nbdinfo --size "$uri")" -eq $((690 << 20)) ]
expect_no_log "trying less"
stop_vram
