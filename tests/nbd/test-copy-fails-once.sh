#!/usr/bin/env bash
# nbdkit-vram: a copy that fails makes only its request fail, with EIO, and is
# logged once
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
    # A block without data has none after a write that failed.
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
# Another kind of error is logged, too.
fail_next ("cuEventRecord", "CUDA_ERROR_NOT_PERMITTED")
eio (h.pread, 4096, 0)
assert h.pread (65536, 0) == data
'
expect_log_times 1 \
  "cannot .*: .* \(CUDA_ERROR_OPERATING_SYSTEM\) \(logged once"
expect_log_times 1 "cannot .*: .* \(CUDA_ERROR_NOT_PERMITTED\) \(logged once"
expect_no_log "lost"
stop_vram
