#!/usr/bin/env bash
# nbdkit-vram: when the driver hangs while an elastic disk takes VRAM, every
# request fails after gpu-timeout, and the server ends
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang
for call in cuMemCreate cuMemGetInfo_v2; do
  rm -f "$tmp/hang"
  start_vram size=64M elastic=yes headroom=1M window=no gpu-timeout=1
  echo "$call 1000" >"$tmp/hang-t"
  mv "$tmp/hang-t" "$tmp/hang"
  # When the reserve is used up, a write waits for the call that hangs.
  nbdsh -u "$uri" -c '
for i in range (8):
    try:
        h.pwrite (b"x" * 4096, i << 23)
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
        break
else:
    assert False, "no error"
try:
    h.pread (4096, 0)
    assert False, "no error"
except nbd.Error as e:
    assert e.errno == "EIO", e.errno
'
  wait_for "$patience" grep -q "the GPU is lost" "$log"
  expect_log "the driver has not answered for 1000 ms"
  end_server TERM
  # The call may return until the process has ended, so that nothing is freed
  # that the governor uses, and VRAM is left alone.
  expect_no_log "cannot overwrite VRAM"
done

# The server is told to end while such a call hangs and no request waits for
# it: the governor takes a chunk for those that writes have used up.
inside ()
{
  [ "$(calls "$1")" -ge "$2" ]
}

for signal in TERM INT QUIT HUP; do
  rm -f "$tmp/hang"
  start_vram size=64M elastic=yes headroom=1M window=no gpu-timeout=1
  before=$(calls cuMemCreate)
  echo "cuMemCreate 1000" >"$tmp/hang-t"
  mv "$tmp/hang-t" "$tmp/hang"
  nbdsh -u "$uri" -c '
for i in range (2):
    h.pwrite (b"x" * 4096, i << 23)
'
  wait_for "$patience" inside cuMemCreate $((before + 1))
  end_server "$signal"
  expect_log "the driver has not answered for 1000 ms"
done
