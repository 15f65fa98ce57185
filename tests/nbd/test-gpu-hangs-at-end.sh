#!/usr/bin/env bash
# nbdkit-vram: a GPU that hangs when the server ends is reported, and the server ends
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_HANG_FILE=$tmp/hang
start_vram size=16M window=no gpu-timeout=1
nbdsh -u "$uri" -c 'h.pwrite (b"e" * 65536, 0)'
: >"$tmp/hang"
end_server TERM
[ "$status" -eq 0 ]
expect_log_times 1 "it has not answered for 1000 ms \(gpu-timeout\)"
expect_log_times 1 "VRAM could not be overwritten before it is given back"
