#!/usr/bin/env bash
# nbdkit-vram: when the GPU hangs, every request fails with EIO after
# gpu-timeout
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_HANG_FILE=$tmp/hang VRAM_TEST_TMP=$tmp
# Under valgrind the end of a server may take longer than a second.
limit=1
[ -z "$VRAM_VALGRIND" ] || limit=10
start_vram size=16M window=no gpu-timeout=$limit lanes=2
lines=$(wc -l <"$log")
nbdsh -u "$uri" -c '
import os
h.pwrite (b"h" * 65536, 0)
open (os.environ["VRAM_TEST_TMP"] + "/hang", "w").close ()
# With more requests than lanes, some wait for a copy, others for a lane.
cookies = [h.aio_pread (nbd.Buffer (4096), i * 4096) for i in range (8)]
cookies += [h.aio_pwrite (bytearray (b"H" * 4096), i * 4096)
            for i in range (8)]
while h.aio_in_flight () > 0:
    h.poll (-1)
for cookie in cookies:
    try:
        h.aio_command_completed (cookie)
        assert False
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
'
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 \
  "the GPU is lost, .*: the driver has not answered for ${limit}000 ms \(gpu"
[ $(($(wc -l <"$log") - lines)) -eq 1 ]

# The driver is not called any more, not even at the end, because it might not
# return.
before=$(awk '{ n += $2 } END { print n }' "$tmp/trace")
nbdsh -u "$uri" -c '
for i in range (100):
    try:
        h.pread (4096, i * 4096)
        assert False
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
'
[ "$(awk '{ n += $2 } END { print n }' "$tmp/trace")" -eq "$before" ]
end_server TERM
[ "$status" -eq 0 ]
