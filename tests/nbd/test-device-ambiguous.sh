#!/usr/bin/env bash
# nbdkit-vram: a device= that matches two GPUs is refused, with a list of the
# GPUs
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_DEVICES=3 STANDIN_CUDA_NAMES="RTX 3070,RTX 3080,T400"
refuses_to_start \
  "device=RTX matches 2 GPUs; name one by its number, UUID or PCI address" \
  size=8M device=RTX
expect_log_times 3 "available: device=[0-2]: "
uuid=GPU-57a4d1ed-0000-4000-8000-000000000001
expect_log "available: device=1: RTX 3080, $uuid, 0000:02:00.0, 8 GiB"
clean_report

# Two GPUs have the same name.
export STANDIN_CUDA_NAMES="RTX 3070,RTX 3070,T400"
refuses_to_start "device=rtx 3070 matches 2 GPUs" size=8M device="rtx 3070"
clean_report
