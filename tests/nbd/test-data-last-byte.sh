#!/usr/bin/env bash
# nbdkit-vram: the disk's last byte can be used, and the one after it cannot
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

for window in auto no; do
  start_vram size=$((1024 * 1024 + 4096)) window="$window"
  nbdsh -u "$uri" -c '
size = h.get_size ()
assert size == 1024 * 1024 + 4096
h.pwrite (b"L", size - 1)
assert h.pread (1, size - 1) == b"L"
assert h.pread (4096, size - 4096) == bytes (4095) + b"L"
h.zero (1, size - 1)
assert h.pread (1, size - 1) == b"\0"
h.set_strict_mode (0)
def refused (f, *args):
    try:
        f (*args)
        assert False
    except nbd.Error as e:
        assert e.errno in ("EINVAL", "ENOSPC"), e.errno
refused (h.pread, 1, size)
refused (h.pread, 2, size - 1)
refused (h.pwrite, b"LL", size - 1)
refused (h.zero, 2, size - 1)
refused (h.trim, 2, size - 1)
refused (h.pread, 1, 1 << 62)
assert h.pread (1, size - 1) == b"\0"
'
  stop_vram
done
