#!/usr/bin/env bash
# nbdkit-vram: nbdkit -r makes the disk read-only
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram -r size=16M
nbdsh -u "$uri" -c '
assert h.is_read_only ()
assert h.pread (65536, 12345) == bytes (65536)
try:
    h.pwrite (b"x", 0)
    assert False
except nbd.Error as e:
    assert e.errno in ("EPERM", "EINVAL"), e.errno
'
stop_vram
