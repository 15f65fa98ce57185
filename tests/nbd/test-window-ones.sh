#!/usr/bin/env bash
# nbdkit-vram: data of all ones, which a lost GPU would return, is read again
# by DMA
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

start_vram -v -D"$PLUGIN_NAME.copies"=1 size=16M window=yes window-read-max=1M
nbdsh -u "$uri" -c '
ones = b"\xff" * 4096
h.pwrite (b"a" * 16384, 0)
assert h.pread (4096, 0) == b"a" * 4096
h.pwrite (ones, 4096)
assert h.pread (16384, 0) == b"a" * 4096 + ones + b"a" * 8192
assert h.pread (1, 4097) == b"\xff"
page = b"b" * 640 + b"\xff" * 64 + b"b" * 3392
h.pwrite (page, 8192)
assert h.pread (4096, 8192) == page
'
# Only what is from the first line of ones to the last one is read again.
expect_log "queue [0-9]+: read 4096 bytes"
expect_log "queue [0-9]+: read 64 bytes"
expect_log "queue [0-9]+: read 1 bytes"
expect_no_log "vram\.[0-9]+: debug: queue [0-9]+: read 16384 bytes"
# The mapping is still used.
expect_no_log "SIGBUS"
stop_vram
