#!/usr/bin/env bash
# nbdkit-vram: data is right through the blocksize filter's small, aligned
# requests
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_filter blocksize
requires_nbdsh

start_vram "$(filter blocksize)" size=16M minblock=512 maxdata=64K maxlen=1M
nbdsh -u "$uri" -c '
import random
random.seed (2)
data = random.randbytes (1000000)
h.pwrite (data, 12345)
assert h.pread (1000002, 12344) == b"\0" + data + b"\0"
h.zero (500000, 12345)
assert h.pread (1000000, 12345) == bytes (500000) + data[500000:]
h.trim (8 << 20, 0)
'
stop_vram
