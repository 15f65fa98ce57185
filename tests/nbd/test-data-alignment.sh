#!/usr/bin/env bash
# nbdkit-vram: reads and writes of every odd offset and length around block
# boundaries are right
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

for window in auto no; do
  start_vram size=1M window="$window"
  nbdsh -u "$uri" -c '
import random
size = h.get_size ()
disk = bytearray (size)
random.seed (1)
edges = [0, 1, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 8193, 12288,
         65535, 65536, 65537]
n = 0
for offset in edges:
    for count in edges[1:]:
        n += 1
        data = bytes ([n % 255 + 1]) * count
        h.pwrite (data, offset)
        disk[offset:offset + count] = data
        assert h.pread (140000, 0) == disk[:140000], (offset, count)
        if n % 3 == 0:
            h.trim (16384, 0)
            disk[0:16384] = bytes (16384)
        if n % 5 == 0:
            h.zero (count, offset)
            disk[offset:offset + count] = bytes (count)
for i in range (500):
    offset = random.randrange (size)
    count = random.randrange (1, min (20000, size - offset) + 1)
    data = random.randbytes (count)
    h.pwrite (data, offset)
    disk[offset:offset + count] = data
    offset = random.randrange (size)
    count = random.randrange (1, size - offset + 1)
    assert h.pread (count, offset) == disk[offset:offset + count]
assert h.pread (size, 0) == disk
'
  stop_vram
done
