#!/usr/bin/env bash
# nbdkit-vram: a new disk reads as zeros, although VRAM holds old data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

# The stand-in hands out VRAM full of garbage.
start_vram size=16M
nbdsh -u "$uri" -c '
assert h.pread (16 << 20, 0) == bytes (16 << 20)
# The rest of a block reads as zeros after a part of it was written.
h.pwrite (b"abc", 70000)
wanted = bytes (70000 - 65536) + b"abc" + bytes (65536 - 4464 - 3)
assert h.pread (65536, 65536) == wanted
h.pwrite (b"d", (16 << 20) - 1)
assert h.pread (4096, (16 << 20) - 4096) == bytes (4095) + b"d"
'
stop_vram

# The same with nbdkit's buffer full of other data. Each thread has one buffer.
start_vram --threads=1 size=16M
nbdsh -u "$uri" -c '
h.pwrite (b"r" * (1 << 20), 0)
assert h.pread (1 << 20, 0) == b"r" * (1 << 20)
assert h.pread (1 << 20, 1 << 20) == bytes (1 << 20)
'
stop_vram
