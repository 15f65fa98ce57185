#!/usr/bin/env bash
# nbdkit-vram: clients that disconnect in the middle of requests do not disturb
# other clients
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

threads=$(threads_for_hangups)
start_vram ${threads:+"$threads"} size=64M
nbdsh -u "$uri" -c 'h.pwrite (b"d" * 4096, 0)'
for i in 1 2 3; do
  # While it sends a write and receives replies of reads.
  nbdsh -u "$uri" -c '
import os
for i in range (8):
    h.aio_pread (nbd.Buffer (4 << 20), i * 4096)
h.aio_pwrite (bytearray (b"D" * (32 << 20)), 8192)
os._exit (0)
'
  nbdsh -u "$uri" -c '
assert h.pread (4096, 0) == b"d" * 4096
h.pwrite (b"d" * 4096, 0)
'
done
stop_vram
