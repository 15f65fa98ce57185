#!/usr/bin/env bash
# nbdkit-vram: a driver without virtual memory management serves from one
# allocation
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

driver=old
start_vram -v size=16M
expect_log "VRAM cannot be exported: the driver has no virtual memory manage"
nbdsh -u "$uri" -c '
h.pwrite (b"old" * 1000000, 999)
assert h.pread (3000000, 999) == b"old" * 1000000
'
stop_vram

# The driver could, but the GPU has no virtual memory management, or cannot
# export VRAM.
driver=full
export STANDIN_CUDA_NO_VMM=1
start_vram -v size=16M
expect_log "VRAM cannot be exported: the GPU has no .* with exportable memory"
stop_vram
unset STANDIN_CUDA_NO_VMM
export STANDIN_CUDA_NO_EXPORT=1
start_vram -v size=16M
expect_log "VRAM cannot be exported: the GPU has no .* with exportable memory"
stop_vram
