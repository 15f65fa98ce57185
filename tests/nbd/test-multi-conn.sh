#!/usr/bin/env bash
# nbdkit-vram: every connection reads what another one has written, also
# without a flush
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
others = []
for i in range (4):
    other = nbd.NBD ()
    other.connect_uri (h.get_uri ())
    others.append (other)
for i in range (200):
    offset = (i * 7919 * 512) % (h.get_size () - 10000)
    data = bytes ([i % 255 + 1]) * (1 + i * 49)
    h.pwrite (data, offset)
    for other in others:
        assert other.pread (len (data), offset) == data, i
    others[i % 4].zero (len (data), offset)
    assert h.pread (len (data), offset) == bytes (len (data)), i
'
stop_vram
