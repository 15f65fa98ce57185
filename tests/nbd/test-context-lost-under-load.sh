#!/usr/bin/env bash
# nbdkit-vram: requests in flight when the context is lost all fail with EIO
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_LOSE_FILE=$tmp/lose VRAM_TEST_TMP=$tmp \
  STANDIN_CUDA_DELAY=100-2000
start_vram size=16M window=no
lines=$(wc -l <"$log")
nbdsh -u "$uri" -c '
import os
connections = [h]
for i in range (3):
    c = nbd.NBD ()
    c.connect_uri (h.get_uri ())
    connections.append (c)
cookies = []
for i in range (200):
    for c in connections:
        data = bytearray (b"u" * 20000)
        cookies.append ((c, c.aio_pwrite (data, i * 20000)))
    if i == 50:
        open (os.environ["VRAM_TEST_TMP"] + "/lose", "w").close ()
for c in connections:
    while c.aio_in_flight () > 0:
        c.poll (-1)
failed = 0
for c, cookie in cookies:
    try:
        c.aio_command_completed (cookie)
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
        failed += 1
assert failed > 0
'
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 "the GPU is lost"
[ $(($(wc -l <"$log") - lines)) -le 3 ]
end_server TERM
[ "$status" -eq 0 ]
