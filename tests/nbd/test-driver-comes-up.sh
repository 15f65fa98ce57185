#!/usr/bin/env bash
# nbdkit-vram: the server waits for a driver that is still starting
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

for error in CUDA_ERROR_NO_DEVICE CUDA_ERROR_SYSTEM_NOT_READY \
  CUDA_ERROR_UNKNOWN; do
  export STANDIN_CUDA_INIT_FAIL=2:$error
  start_vram -v size=16M
  [ "$(calls cuInit)" -eq 3 ]
  expect_log_times 2 "cuInit: .* \($error\): trying again"
  stop_vram
done
