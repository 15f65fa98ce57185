#!/usr/bin/env bash
# nbdkit-vram: a driver that promises exportable VRAM and refuses it causes a
# warning only
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

works ()
{
  nbdsh -u "$uri" -c '
h.pwrite (b"x" * 300000, (64 << 20) - 7)
assert h.pread (300000, (64 << 20) - 7) == b"x" * 300000
'
}

# falls_back CALL NUMBER ERROR: this call fails.
falls_back ()
{
  export STANDIN_CUDA_FAIL=$1:$2:$3
  start_vram size=130M
  [ "$(nbdinfo --size "$uri")" -eq $((130 << 20)) ]
  expect_log_times 1 "warning: this driver refuses exportable VRAM \($1: "
  works
  stop_vram
}

# At the first call, and for the disk's second chunk, which comes after the
# chunk for trying copies.
for call in cuMemCreate cuMemAddressReserve cuMemMap cuMemSetAccess; do
  for number in 1 3; do
    falls_back "$call" "$number" CUDA_ERROR_NOT_SUPPORTED
  done
done
# A lack of addresses is not a lack of VRAM.
for number in 1 3; do
  falls_back cuMemAddressReserve "$number" CUDA_ERROR_OUT_OF_MEMORY
done

# Without exportable VRAM there is neither a mapping nor a handover.
export STANDIN_CUDA_FAIL=cuMemCreate:1:CUDA_ERROR_NOT_SUPPORTED
refuses_to_start "window=yes: this driver cannot export VRAM" size=130M \
  window=yes
export NOTIFY_SOCKET=$tmp/notify
refuses_to_start "handover=yes: this driver cannot export VRAM" size=130M \
  handover=yes
