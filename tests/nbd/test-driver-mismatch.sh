#!/usr/bin/env bash
# nbdkit-vram: when libcuda and the kernel module differ, the log has the
# driver's words and the remedy
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_INIT_FAIL=all:CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
refuses_to_start \
  "cannot initialise .* \(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\); .*: reboot" \
  size=16M
# It does not retry, because waiting would not help.
[ "$(calls cuInit)" -eq 1 ]
