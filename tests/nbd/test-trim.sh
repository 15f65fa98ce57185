#!/usr/bin/env bash
# nbdkit-vram: trimmed blocks read as zeros, and parts of blocks do not change
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
data = b"t" * 65536
h.pwrite (data, 0)
# Whole blocks.
h.trim (8192, 4096)
assert h.pread (65536, 0) == data[:4096] + bytes (8192) + data[12288:]
# Parts of blocks only.
h.trim (6000, 12288 + 1000)
assert h.pread (65536, 0) == data[:4096] + bytes (8192) + data[12288:]
h.trim (1, 40000)
assert h.pread (65536, 0) == data[:4096] + bytes (8192) + data[12288:]
# A part, a block, a part.
h.trim (4096 + 2000, 32768 - 1000)
wanted = (data[:4096] + bytes (8192) + data[12288:32768] + bytes (4096) +
          data[36864:])
assert h.pread (65536, 0) == wanted
# A write to a part of a trimmed block does not bring old content back.
h.pwrite (b"new", 5000)
assert h.pread (8192, 4096) == bytes (904) + b"new" + bytes (8192 - 907)
'
stop_vram
