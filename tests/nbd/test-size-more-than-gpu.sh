#!/usr/bin/env bash
# nbdkit-vram: a size that is more than the GPU has is an error
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_GARBAGE=1M
refuses_to_start \
  "size=2 GiB is more than the 1 GiB of VRAM that the GPU has; size=max" \
  size=2G
clean_report
