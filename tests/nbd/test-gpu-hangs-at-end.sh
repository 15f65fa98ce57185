#!/usr/bin/env bash
# nbdkit-vram: a GPU that hangs when the server ends is reported, and the
# server ends
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# hang NAME COUNT: the next COUNT calls of NAME hang. The file appears whole.
hang ()
{
  echo "$1 $2" >"$tmp/hang-t"
  mv "$tmp/hang-t" "$tmp/hang-call"
}

inside ()
{
  [ "$(calls "$1")" -ge "$2" ]
}

export STANDIN_CUDA_HANG_FILE=$tmp/hang \
  STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang-call
start_vram size=16M window=no gpu-timeout=1
nbdsh -u "$uri" -c 'h.pwrite (b"e" * 65536, 0)'
: >"$tmp/hang"
end_server TERM
[ "$status" -eq 0 ]
expect_log_times 1 "the driver has not answered for 1000 ms \(gpu-timeout\)"
expect_log_times 1 "cannot overwrite VRAM; freeing it with the data in it"
rm "$tmp/hang"

# The overwriting of VRAM does not return.
start_vram size=16M window=no gpu-timeout=1
hang cuMemsetD8Async 1
end_server TERM
[ "$status" -eq 0 ]
expect_log_times 1 "the driver has not answered for 1000 ms \(gpu-timeout\)"
expect_log_times 1 "cannot overwrite VRAM; freeing it with the data in it"

# The freeing of VRAM does not return.
rm "$tmp/hang-call"
start_vram size=16M window=no gpu-timeout=1
hang cuMemUnmap 1
end_server TERM
[ "$status" -eq 1 ]
expect_log_times 1 "the driver has not answered for 1000 ms \(gpu-timeout\)"
expect_log_times 1 \
  "a call into the NVIDIA driver does not return; ending without"

# It returns late, but in time: the server ends as usual.
rm "$tmp/hang-call"
start_vram size=16M window=no gpu-timeout=3600
hang cuMemsetD8Async 1
before=$(calls cuMemsetD8Async)
kill -TERM "$server"
wait_for "$patience" inside cuMemsetD8Async $((before + 1))
rm "$tmp/hang-call"
stop_vram
