#!/usr/bin/env bash
# nbdkit-vram: size=N% is a share of the GPU's VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=64M
start_vram size=25%
[ "$(nbdinfo --size "$uri")" -eq $((16 << 20)) ]
stop_vram

start_vram size=12.5%
[ "$(nbdinfo --size "$uri")" -eq $((8 << 20)) ]
stop_vram

# The share is of all VRAM, not of free VRAM, and rounded down to 2 MiB.
export STANDIN_CUDA_MEMORY=62M STANDIN_CUDA_USED=10M
start_vram size=33.3%
[ "$(nbdinfo --size "$uri")" -eq $((20 << 20)) ]
stop_vram

export STANDIN_CUDA_USED=0
start_vram size=90%
[ "$(nbdinfo --size "$uri")" -eq $((54 << 20)) ]
stop_vram

# A percentage that gives less than a block is an error, also with min-size.
refuses_to_start \
  "percentage of size= is too small: it makes 0 bytes of the 62 MiB" \
  size=0.000001%
expect_no_log "VRAM is short"
refuses_to_start \
  "percentage of size= is too small: it makes 3900 bytes .* at least 4096" \
  size=0.006% min-size=8M
