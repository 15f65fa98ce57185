#!/usr/bin/env bash
# nbdkit-vram: when the GPU hangs during the start, the start fails
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_HANG_FILE=$tmp/hang \
  STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang-call
: >"$tmp/hang"
refuses_to_start "the driver has not answered for 1000 ms \(gpu-timeout\)" \
  size=16M gpu-timeout=1
rm "$tmp/hang"

# In each phase: the driver, the GPUs, the context, the disk, a first copy, the
# mapping.
for call in cuInit cuDeviceGetCount cuDevicePrimaryCtxRetain cuMemCreate \
  cuMemcpyHtoDAsync cuMemExportToShareableHandle; do
  echo "$call 1000" >"$tmp/hang-call"
  refuses_to_start "the driver has not answered for 1000 ms \(gpu-timeout\)" \
    size=16M gpu-timeout=1
done

# The server is told to end meanwhile.
echo "cuInit 1000" >"$tmp/hang-call"
for signal in TERM HUP; do
  launch_vram size=16M gpu-timeout=2
  wait_for "$patience" test -S "$sock"
  end_server "$signal"
  [ "$status" -eq 1 ]
  expect_log "the driver has not answered for 2000 ms \(gpu-timeout\)"
done
