#!/usr/bin/env bash
# nbdkit-vram: when a call into the driver does not return, every request fails
# after gpu-timeout, and the server ends
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# hang NAME COUNT: the next COUNT calls of NAME hang. The file appears whole.
hang ()
{
  echo "$1 $2" >"$tmp/hang-t"
  mv "$tmp/hang-t" "$tmp/hang"
}

# hung N: succeeds if N requests hang there.
inside ()
{
  [ "$(calls "$1")" -ge "$2" ]
}

export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang
lost="the GPU is lost, .*: the driver has not answered for 1000 ms \(gpu-t"

# With one thread for each connection and more lanes than requests, only
# threads inside the driver wait.
start_vram --threads=1 size=16M window=no gpu-timeout=1 lanes=4
nbdsh -u "$uri" -c 'h.pwrite (b"q" * 65536, 0)'
hang cuEventQuery 1000
clients=()
for i in 1 2; do
  nbdsh -u "$uri" -c '
try:
    h.pread (65536, 0)
    assert False, "no error"
except nbd.Error as e:
    assert e.errno == "EIO", e.errno
' &
  clients+=($!)
done
for i in "${clients[@]}"; do
  wait "$i"
done
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 "$lost"
nbdinfo "$uri" | grep "copies fail: the GPU is lost"
end_server TERM
[ "$status" -eq 0 ]
expect_log_times 1 "cannot overwrite VRAM; freeing it with the data in it"

# One call hangs, and the other lanes are free. A write to the same block waits
# for the request that hangs. A third client is served meanwhile: the GPU does
# not count as lost before the test is over.
rm "$tmp/hang"
start_vram size=16M window=no gpu-timeout=3600 lanes=4
before=$(calls cuMemcpyHtoDAsync_v2)
hang cuMemcpyHtoDAsync_v2 1
for i in 1 2; do
  nbdsh -u "$uri" -c 'h.pwrite (b"c" * 4096, 0)' &
  clients[i]=$!
  wait_for "$patience" inside cuMemcpyHtoDAsync_v2 $((before + 1))
done
nbdsh -u "$uri" -c 'h.pwrite (b"d" * 4096, 4096)'
expect_no_log "the GPU is lost"
rm "$tmp/hang"
wait "${clients[1]}"
wait "${clients[2]}"
stop_vram

# When the GPU is lost, both the request that hangs and the one that waits for
# it fail.
start_vram size=16M window=no gpu-timeout=1 lanes=4
before=$(calls cuMemcpyHtoDAsync_v2)
hang cuMemcpyHtoDAsync_v2 1
nbdsh -u "$uri" -c '
def start ():
    return h.aio_pwrite (bytearray (b"c" * 4096), 0)
cookies = [start (), start ()]
while h.aio_in_flight () > 0:
    h.poll (-1)
for cookie in cookies:
    try:
        h.aio_command_completed (cookie)
        assert False, "no error"
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
'
[ "$(calls cuMemcpyHtoDAsync_v2)" -eq $((before + 1)) ]
wait_for "$patience" grep -q "the GPU is lost" "$log"
expect_log_times 1 "the GPU is lost"
end_server TERM
[ "$status" -eq 0 ]

# All lanes are in use: requests wait for a lane, and one for blocks that are
# being written.
rm "$tmp/hang"
start_vram size=16M window=no gpu-timeout=1 lanes=2
hang cuMemcpyHtoDAsync_v2 2
nbdsh -u "$uri" -c '
def start (i):
    return h.aio_pwrite (bytearray (b"H" * 4096), i * 4096)
cookies = [start (i) for i in [0, 1, 0, 1] + list (range (2, 8))]
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
expect_log_times 1 "$lost"

# The call returns when no request waits for it any more.
rm "$tmp/hang"
end_server TERM
[ "$status" -eq 0 ]

# The server is told to end while a call hangs.
for signal in TERM INT QUIT HUP; do
  start_vram size=16M window=no gpu-timeout=1
  before=$(calls cuEventQuery)
  hang cuEventQuery 1000
  nbdsh -u "$uri" -c 'h.pwrite (b"h" * 4096, 0)' &
  client=$!
  wait_for "$patience" inside cuEventQuery $((before + 1))
  end_server "$signal"
  [ "$status" -eq 0 ]
  wait_for "$patience" grep -q "the GPU is lost" "$log"
  expect_log_times 1 "$lost"
  wait "$client" || :
  rm "$tmp/hang"
done
