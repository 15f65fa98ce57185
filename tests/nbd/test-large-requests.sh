#!/usr/bin/env bash
# nbdkit-vram: requests of 32 MiB and more, up to nbdkit's limit of 64 MiB, are
# served
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_program cmp

random_file "$tmp/in" 64M
start_vram size=160M
VRAM_TEST_TMP=$tmp nbdsh -u "$uri" -c '
import os
data = open (os.environ["VRAM_TEST_TMP"] + "/in", "rb").read ()
# By default libnbd refuses more than the announced maximum.
h.set_strict_mode (0)
for size in (32 << 20) + 1, 64 << 20:
    offset = (64 << 20) - 1
    h.pwrite (data[:size], offset)
    assert h.pread (size, offset) == data[:size], size
    assert h.pread (2, offset - 1) == b"\0" + data[:1]
    assert h.pread (2, offset + size - 1) == data[size - 1:size] + b"\0", size
    h.zero (size, offset)
    assert h.pread (size, offset) == bytes (size)
'
stop_vram
