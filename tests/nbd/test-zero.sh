#!/usr/bin/env bash
# nbdkit-vram: zeroed bytes read as zeros, in whole blocks and in parts of
# blocks
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
want = bytearray (b"z" * 65536)
h.pwrite (want, 0)
for count, offset in ((4096, 4096), (1, 100), (6000, 13288),
                      (4096 + 2000, 31768), (4095, 40961)):
    h.zero (count, offset, nbd.CMD_FLAG_NO_HOLE if offset % 2 else 0)
    want[offset:offset + count] = bytes (count)
    assert h.pread (65536, 0) == want, (count, offset)
'
stop_vram
