#!/usr/bin/env bash
# nbdkit-vram: without a GPU the log has the driver's words and the remedy
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_DEVICES=0
refuses_to_start \
  "cannot initialise .* \(CUDA_ERROR_NO_DEVICE\); check with nvidia-smi" \
  size=16M
# The server retries for a while, because the driver may be starting.
[ "$(calls cuInit)" -gt 2 ]
