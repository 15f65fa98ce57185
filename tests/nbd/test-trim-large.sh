#!/usr/bin/env bash
# nbdkit-vram: one trim of nearly 4 GiB is served
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

export STANDIN_CUDA_GARBAGE=1M
start_vram size=5G
nbdsh -u "$uri" -c '
end = 5 << 30
places = (0, 1 << 30, (4 << 30) - 8192, (4 << 30) - 4096, 4 << 30, end - 4096)
for offset in places:
    h.pwrite (b"T" * 4096, offset)
# The longest trim of the kernel: all sectors that fit into 32 bits of bytes.
count = (4 << 30) - 4096
h.trim (count, 0)
for offset in places:
    want = bytes (4096) if offset < count else b"T" * 4096
    assert h.pread (4096, offset) == want, offset
# The longest request of the protocol, not aligned.
h.trim ((4 << 30) - 1, end - (4 << 30) + 1)
for offset in places:
    assert h.pread (4096, offset) == bytes (4096), offset
h.zero ((4 << 30) - 1, 12345)
assert h.pread (65536, end - 65536) == bytes (65536)
'
stop_vram
