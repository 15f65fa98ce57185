#!/usr/bin/env bash
# nbdkit-vram: a client that asks for one extent gets one, at any offset
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh --base-allocation -u "$uri" -c '
h.pwrite (b"e" * 12288, 8192)
def extents (count, offset, flags = 0):
    got = []
    def collect (context, start, entries, error):
        got.extend (zip (entries[0::2], entries[1::2]))
    h.block_status (count, offset, collect, flags)
    return got
hole, data = 3, 0
assert extents (1 << 20, 0, nbd.CMD_FLAG_REQ_ONE) == [(8192, hole)]
wanted = [(8192 + 12288 - 10000, data)]
assert extents (1 << 20, 10000, nbd.CMD_FLAG_REQ_ONE) == wanted
assert extents (1 << 20, 20481, nbd.CMD_FLAG_REQ_ONE)[0][1] == hole
assert extents (1, 20479, nbd.CMD_FLAG_REQ_ONE) == [(1, data)]
assert extents (16384, 4096)[:2] == [(4096, hole), (12288, data)]
'
stop_vram
