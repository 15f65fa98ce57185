#!/usr/bin/env bash
# nbdkit-vram: a client that disconnects while the GPU copies for it leaves
# nothing behind
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_HANG_FILE=$tmp/hang VRAM_TEST_TMP=$tmp
threads=$(threads_for_hangups)
start_vram ${threads:+"$threads"} size=16M window=no
nbdsh -u "$uri" -c '
import os
h.pwrite (b"d" * 65536, 0)
open (os.environ["VRAM_TEST_TMP"] + "/hang", "w").close ()
for i in range (16):
    h.aio_pread (nbd.Buffer (4096), i * 4096)
    h.aio_pwrite (bytearray (b"D" * 4096), (1 << 20) + i * 4096)
os._exit (0)
'
rm "$tmp/hang"
nbdsh -u "$uri" -c '
assert h.pread (65536, 0) == b"d" * 65536
# Each of these writes may or may not have happened.
for i in range (16):
    assert h.pread (4096, (1 << 20) + i * 4096) in (b"D" * 4096, bytes (4096))
'
stop_vram
