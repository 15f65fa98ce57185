#!/usr/bin/env bash
# nbdkit-vram: when one piece of a large copy fails, its request fails, and no
# other request is affected
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# The first piece of a read is being copied when the second one fails. The next
# request uses the same staging memory.
start=(size=16M window=no lanes=1 staging=16K)
start_vram "${start[@]}"
reads=$(calls cuMemcpyDtoHAsync_v2)
stop_vram

failure=CUDA_ERROR_OPERATING_SYSTEM
export STANDIN_CUDA_FAIL=cuMemcpyDtoHAsync:$((reads + 2)):$failure
export STANDIN_CUDA_DELAY=20000-40000
start_vram "${start[@]}"
nbdsh -u "$uri" -c '
h.pwrite (b"o" * 65536, 0)
failing = h.aio_pread (nbd.Buffer (65536), 0)
after = h.aio_pwrite (bytearray (b"a" * 8192), 1 << 20)
while h.aio_in_flight () > 0:
    h.poll (-1)
try:
    h.aio_command_completed (failing)
    assert False
except nbd.Error as e:
    assert e.errno == "EIO", e.errno
assert h.aio_command_completed (after)
assert h.pread (8192, 1 << 20) == b"a" * 8192
assert h.pread (65536, 0) == b"o" * 65536
'
stop_vram
