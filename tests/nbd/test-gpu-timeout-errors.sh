#!/usr/bin/env bash
# nbdkit-vram: an invalid gpu-timeout is refused
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "gpu-timeout=0: it must be a number from 1 to 3600" size=16M \
  gpu-timeout=0
refuses_to_start "gpu-timeout=3601: it must be a number from 1 to 3600" \
  size=16M gpu-timeout=3601
refuses_to_start "gpu-timeout" size=16M gpu-timeout=-5
refuses_to_start "gpu-timeout" size=16M gpu-timeout=soon
