#!/usr/bin/env bash
# nbdkit-vram: without device= the server uses the GPU with the most free VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_DEVICES=3 STANDIN_CUDA_MEMORY=1G,512M,1G \
  STANDIN_CUDA_USED=600M,10M,900M
start_vram -v size=8M
[ "$(description)" = "VRAM of Stand-in GPU 1, 0000:02:00.0" ]
# The log names the GPU by all its names.
uuid=GPU-57a4d1ed-0000-4000-8000-000000000001
expect_log "on device=1: Stand-in GPU 1, $uuid, 0000:02:00.0"
stop_vram
