#!/usr/bin/env bash
# nbdkit-vram: after the context is lost every request fails with EIO at once,
# and the log has one line for it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_LOSE_FILE=$tmp/lose VRAM_TEST_TMP=$tmp
start_vram size=16M window=no
nbdsh -u "$uri" -c '
import os
def eio (f, *args):
    try:
        f (*args)
        assert False, "no error"
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
h.pwrite (b"l" * 65536, 0)
open (os.environ["VRAM_TEST_TMP"] + "/lose", "w").close ()
eio (h.pread, 4096, 0)
for i in range (300):
    eio (h.pread, 4096, 0)
    eio (h.pwrite, b"l" * 4096, 8192)
    eio (h.pwrite, b"l", 1 << 20)
    # Requests that need no GPU fail, too, because the disk is lost.
    eio (h.pread, 4096, 1 << 20)
    eio (h.zero, 4096, 0)
    eio (h.trim, 4096, 0)
    eio (h.flush)
'
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 \
  "the GPU is lost, .*\(CUDA_ERROR_LAUNCH_FAILED\); every request fails .*Xid"
# A copy notices it or, on a slow machine, the check every half second.
[ "$(grep -c '(logged once' "$log")" -le 1 ]
# The driver is not called again, because it might not return.
before=$(awk '{ n += $2 } END { print n }' "$tmp/trace")
nbdsh -u "$uri" -c '
try:
    h.pread (4096, 0)
    assert False
except nbd.Error as e:
    assert e.errno == "EIO", e.errno
'
[ "$(awk '{ n += $2 } END { print n }' "$tmp/trace")" -eq "$before" ]

# The server ends, and reports that it could not overwrite VRAM.
end_server TERM
[ "$status" -eq 0 ]
expect_log_times 1 "cannot overwrite VRAM; freeing it with the data in it"

# Requests through the mapping do not call the driver. The loss is noticed
# without them, and then they fail, too.
rm "$tmp/lose"
start_vram size=16M window=yes window-read-max=64K \
  "-D$PLUGIN_NAME.window_write_max=65536"
nbdsh -u "$uri" -c '
import os, time
h.pwrite (b"l" * 65536, 0)
assert h.pread (4096, 0) == b"l" * 4096
# Long enough for an idle thread to go to sleep.
time.sleep (1.2)
open (os.environ["VRAM_TEST_TMP"] + "/lose", "w").close ()
deadline = time.monotonic () + '"$patience"'
while time.monotonic () < deadline:
    try:
        assert h.pread (4096, 0) == b"l" * 4096
        h.pwrite (b"l" * 4096, 4096)
        time.sleep (0.01)
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
        break
else:
    assert False, "requests go on"
for i in range (100):
    for f in (lambda: h.pread (4096, 0)), (lambda: h.pwrite (b"l", 8192)), \
            (lambda: h.zero (4096, 0)), h.flush:
        try:
            f ()
            assert False, "no error"
        except nbd.Error as e:
            assert e.errno == "EIO", e.errno
'
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 "the GPU is lost, with all data of this disk"
end_server TERM
[ "$status" -eq 0 ]
