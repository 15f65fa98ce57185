#!/usr/bin/env bash
# nbdkit-vram: a GPU that hangs when the server starts is an error, and not a server that hangs
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_HANG_FILE=$tmp/hang
: >"$tmp/hang"
refuses_to_start "it has not answered for 1000 ms \(gpu-timeout\)" size=16M gpu-timeout=1
