#!/usr/bin/env bash
# nbdkit-vram: writes, zeroing and trims with FUA are done when they are
# answered
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
other = nbd.NBD ()
other.connect_uri (h.get_uri ())
h.pwrite (b"f" * 10000, 5000, nbd.CMD_FLAG_FUA)
assert other.pread (10002, 4999) == b"\0" + b"f" * 10000 + b"\0"
h.zero (100, 6000, nbd.CMD_FLAG_FUA)
assert other.pread (102, 5999) == b"f" + bytes (100) + b"f"
h.trim (4096, 8192, nbd.CMD_FLAG_FUA)
assert other.pread (4098, 8191) == b"f" + bytes (4096) + b"f"
'
stop_vram
