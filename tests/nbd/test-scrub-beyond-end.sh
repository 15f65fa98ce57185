#!/usr/bin/env bash
# nbdkit-vram: VRAM behind the disk's end is overwritten, too
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# The stand-in's VRAM is full of garbage. stop_vram checks all 2 MiB that were
# allocated.
for no_chunks in 0 1; do
  export STANDIN_CUDA_NO_VMM=$no_chunks
  start_vram size=20K
  stop_vram
done
