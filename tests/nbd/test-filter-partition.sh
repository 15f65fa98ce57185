#!/usr/bin/env bash
# nbdkit-vram: the partition filter serves one partition of this disk, and the
# rest is unchanged
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_filter partition
requires "$NBDKIT" nbd --version

# The filter needs a partition table when a client connects. The table is
# written to this disk, and a second nbdkit serves the disk with the filter.
start_vram size=16M
nbdsh -u "$uri" -c '
import struct
def entry (start, count):
    return struct.pack ("<B3sB3sII", 0, bytes (3), 0x83, bytes (3),
                        start, count)
h.pwrite (bytes (446) + entry (2048, 8192) + entry (16384, 8192) +
          bytes (32) + b"\x55\xaa", 0)
h.pwrite (b"first", 2048 * 512)
h.pwrite (b"second", 16384 * 512)
'
"$NBDKIT" --foreground --exit-with-parent --unix "$tmp/partition" \
  "$(filter partition)" nbd socket="$sock" \
  partition=2 >"$tmp/log.partition" 2>&1 </dev/null &
cleanup_fn kill_server "$!"
wait_for "$patience" test -S "$tmp/partition"
wait_for "$patience" nbdinfo --size "nbd+unix:///?socket=$tmp/partition"
nbdsh -u "nbd+unix:///?socket=$tmp/partition" -c '
assert h.get_size () == 8192 * 512
assert h.pread (6, 0) == b"second"
h.pwrite (b"2" * (8192 * 512), 0)
h.trim (4096, 4096)
'
nbdsh -u "$uri" -c '
assert h.pread (5, 2048 * 512) == b"first"
assert h.pread (4096, 16384 * 512 - 4096) == bytes (4096)
assert h.pread (12288, 16384 * 512) == b"2" * 4096 + bytes (4096) + b"2" * 4096
assert h.pread (4096, 24576 * 512 - 4096) == b"2" * 4096
'
kill_server "$!"
stop_vram
