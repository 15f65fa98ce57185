#!/usr/bin/env bash
# nbdkit-vram: an invalid min-size, or one above size, is refused
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "min-size=32 MiB is more than size=16 MiB" size=16M \
  min-size=32M
refuses_to_start "min-size" size=16M min-size=0
refuses_to_start "min-size" size=16M min-size=-4M
refuses_to_start "min-size" size=16M min-size=50%
refuses_to_start "min-size" size=16M min-size=some

# If the GPU has less in all, the message does not speak of free VRAM.
export STANDIN_CUDA_MEMORY=1G
refuses_to_start \
  "min-size=7340032 TiB is more than the 1 GiB of VRAM that the GPU has" \
  size=max min-size=7E
