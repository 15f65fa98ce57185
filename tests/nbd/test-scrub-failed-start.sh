#!/usr/bin/env bash
# nbdkit-vram: a start that fails after VRAM was allocated frees it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# The lanes' pinned memory, a lane, the first copy.
for fault in cuMemHostAlloc cuStreamCreate cuEventCreate cuMemcpyHtoDAsync \
  cuMemcpyDtoHAsync cuMemsetD8Async; do
  export STANDIN_CUDA_FAIL=$fault:1:CUDA_ERROR_UNKNOWN STANDIN_CUDA_GARBAGE=0
  refuses_to_start "CUDA_ERROR_UNKNOWN" size=16M window=no
  clean_report
done
