#!/usr/bin/env bash
# nbdkit-vram: a copy that fails is EIO for its request only, and the log has
# one line
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_FAIL_FILE=$tmp/fail VRAM_TEST_TMP=$tmp
start_vram size=16M window=no
nbdsh -u "$uri" -c '
import os
tmp = os.environ["VRAM_TEST_TMP"]
def fail_next (function, code):
    with open (tmp + "/new", "w") as f:
        f.write ("%s 1 %s\n" % (function, code))
    os.rename (tmp + "/new", tmp + "/fail")
def eio (f, *args):
    try:
        f (*args)
        assert False, "no error"
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno

data = bytes (range (256)) * 256
h.pwrite (data, 0)
for i in range (3):
    fail_next ("cuMemcpyDtoHAsync", "CUDA_ERROR_OPERATING_SYSTEM")
    eio (h.pread, 4096, 0)
    assert h.pread (65536, 0) == data
    # A write that fails on a block without data leaves it without.
    h.pwrite (b"y" * 4096, 1 << 20)
    h.trim (4096, 1 << 20)
    fail_next ("cuMemcpyHtoDAsync", "CUDA_ERROR_OPERATING_SYSTEM")
    eio (h.pwrite, b"x" * 4096, 1 << 20)
    assert h.pread (4096, 1 << 20) == bytes (4096)
    fail_next ("cuMemcpyHtoDAsync", "CUDA_ERROR_OPERATING_SYSTEM")
    eio (h.pwrite, b"x" * 7, 1 << 20)
    assert h.pread (4096, 1 << 20) == bytes (4096)
    # A part of a block is zeroed by a copy.
    fail_next ("cuMemcpyHtoDAsync", "CUDA_ERROR_OPERATING_SYSTEM")
    eio (h.zero, 100, 100)
    h.pwrite (data, 0)
# Another kind of error is another line.
fail_next ("cuEventRecord", "CUDA_ERROR_NOT_PERMITTED")
eio (h.pread, 4096, 0)
assert h.pread (65536, 0) == data
'
expect_log_times 1 \
  "cannot .*: .* \(CUDA_ERROR_OPERATING_SYSTEM\) \(logged once"
expect_log_times 1 "cannot .*: .* \(CUDA_ERROR_NOT_PERMITTED\) \(logged once"
expect_no_log "lost"
stop_vram
