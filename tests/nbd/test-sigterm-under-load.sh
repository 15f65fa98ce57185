#!/usr/bin/env bash
# nbdkit-vram: on SIGTERM under load the server overwrites all of VRAM and
# exits with 0
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

export VRAM_TEST_TMP=$tmp
threads=$(threads_for_hangups)
for window in auto no; do
  start_vram ${threads:+"$threads"} size=32M window="$window"
  nbdsh -u "$uri" -c '
import os, random
tmp = os.environ["VRAM_TEST_TMP"]
connections = [h]
for i in range (3):
    c = nbd.NBD ()
    c.connect_uri (h.get_uri ())
    connections.append (c)
n = 0
data = bytearray (b"T" * 30000)
try:
    while True:
        for c in connections:
            while c.aio_in_flight () < 16:
                at = random.randrange (32 * 1048576 - len (data))
                c.aio_pwrite (data, at, completion = lambda err: 1)
            c.poll (0)
        n += 1
        if n == 50:
            open (tmp + "/running", "w").close ()
except nbd.Error:
    pass
' &
  client=$!
  cleanup_fn kill_server "$client"
  wait_for "$patience" test -e "$tmp/running"
  stop_vram
  wait "$client"
  rm "$tmp/running"
done
