#!/usr/bin/env bash
# nbdkit-vram: a GPU that answers late, but within gpu-timeout, only delays
# requests
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_HANG_FILE=$tmp/hang VRAM_TEST_TMP=$tmp
start_vram size=16M window=no gpu-timeout=3600
nbdsh -u "$uri" -c '
import os, time
hang = os.environ["VRAM_TEST_TMP"] + "/hang"
h.pwrite (b"p" * 65536, 0)
open (hang, "w").close ()
buf = nbd.Buffer (65536)
cookie = h.aio_pread (buf, 0)
time.sleep (0.5)
h.poll (0)
assert not h.aio_command_completed (cookie)
os.unlink (hang)
while h.aio_in_flight () > 0:
    h.poll (-1)
assert h.aio_command_completed (cookie)
assert buf.to_bytearray () == b"p" * 65536
'
expect_no_log "lost"
stop_vram
