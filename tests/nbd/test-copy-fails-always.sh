#!/usr/bin/env bash
# nbdkit-vram: a GPU that fails every copy costs one line in the log, not one
# for each request
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_FAIL_FILE=$tmp/fail
start_vram size=16M window=no
lines=$(wc -l <"$log")
echo "cuMemcpyHtoDAsync all CUDA_ERROR_OPERATING_SYSTEM" >"$tmp/new"
mv "$tmp/new" "$tmp/fail"
nbdsh -u "$uri" -c '
for i in range (1000):
    try:
        h.pwrite (b"x" * 4096, i * 4096)
        assert False
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
# Requests that need no copy still work.
h.zero (1 << 20, 0)
assert h.pread (4096, 0) == bytes (4096)
'
[ $(($(wc -l <"$log") - lines)) -eq 1 ]
stop_vram
