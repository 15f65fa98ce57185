#!/usr/bin/env bash
# nbdkit-vram: a call into the driver that does not return takes its request with it: others are answered, and the server ends
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# hang NAME COUNT: appears whole.
hang ()
{
  echo "$1 $2" >"$tmp/hang-t"
  mv "$tmp/hang-t" "$tmp/hang"
}

# Whether so many requests have come to a stop there.
inside ()
{
  [ "$(calls "$1")" -ge "$2" ]
}

export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang VRAM_TEST_TMP=$tmp

# Both lanes are gone: others wait for one, and one for the blocks that are being written.
start_vram size=16M window=no gpu-timeout=1 lanes=2
hang cuMemcpyHtoDAsync_v2 2
nbdsh -u "$uri" -c '
def start (i):
    return h.aio_pwrite (bytearray (b"H" * 4096), i * 4096)
cookies = [start (i) for i in [0, 1, 0, 1] + list (range (2, 8))]
cookies += [h.aio_pread (nbd.Buffer (4096), i * 4096) for i in range (4)]
# What was never written is read without the driver.
reads = 4
failed = 0
while h.aio_in_flight () > 2:
    h.poll (-1)
for cookie in cookies:
    try:
        h.aio_command_completed (cookie)
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
        failed += 1
assert failed == len (cookies) - 2 - reads, failed
'
expect_log_times 1 "the GPU is lost, and with it what this disk held: the driver has not answered for 1000 ms \(gpu-timeout\)"
end_server TERM
[ "$status" -eq 1 ]
expect_log_times 1 "a call into the NVIDIA driver does not return: ending all the same"
[ -z "$(cat "$tmp"/report.*)" ]

# Nobody waits for the one that hangs, other than nbdkit.
rm "$tmp/hang"
start_vram size=16M window=no gpu-timeout=1 lanes=4
hang cuEventQuery 1
before=$(calls cuEventQuery)
nbdsh -u "$uri" -c 'h.pwrite (b"h" * 4096, 0)' &
client=$!
wait_for "$patience" inside cuEventQuery $((before + 1))
end_server TERM
[ "$status" -eq 1 ]
expect_log_times 1 "a call into the NVIDIA driver does not return: ending all the same"
expect_no_log "GPU is lost"
wait "$client" || :

# It hangs at the end, when VRAM is to be overwritten.
rm "$tmp/hang"
start_vram size=16M window=no gpu-timeout=1
hang cuMemsetD8Async 1
end_server TERM
[ "$status" -eq 1 ]
expect_log_times 1 "a call into the NVIDIA driver does not return: ending all the same"

# It comes back in time, if late: the end is as usual.
rm "$tmp/hang"
start_vram size=16M window=no gpu-timeout=3600
hang cuMemsetD8Async 1
before=$(calls cuMemsetD8Async)
kill -TERM "$server"
wait_for "$patience" inside cuMemsetD8Async $((before + 1))
rm "$tmp/hang"
stop_vram
