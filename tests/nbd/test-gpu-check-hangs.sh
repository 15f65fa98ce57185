#!/usr/bin/env bash
# nbdkit-vram: when the check of the context hangs, the GPU counts as lost
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang VRAM_TEST_TMP=$tmp
start_vram size=16M window=yes window-read-max=64K gpu-timeout=1 \
  "-D$PLUGIN_NAME.window_write_max=65536"
nbdsh -u "$uri" -c '
import os, time
h.pwrite (b"c" * 4096, 0)
with open (os.environ["VRAM_TEST_TMP"] + "/hang-t", "w") as f:
    f.write ("cuStreamQuery 1000")
hang = os.environ["VRAM_TEST_TMP"] + "/hang"
os.rename (hang + "-t", hang)
while True:
    try:
        assert h.pread (4096, 0) == b"c" * 4096
        time.sleep (0.01)
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
        break
'
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 \
  "the GPU is lost, .*: the driver has not answered for 1000 ms"

# The call returns when nothing waits for it any more.
rm "$tmp/hang"
end_server TERM
[ "$status" -eq 0 ]
