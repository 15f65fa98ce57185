#!/usr/bin/env bash
# nbdkit-vram: a libcuda that lacks a function is refused, with the function's
# name
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

driver=broken
refuses_to_start \
  "libcuda.so.1 does not have the function cuMemcpyDtoHAsync_v2: .* too old" \
  size=16M
