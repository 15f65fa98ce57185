#!/usr/bin/env bash
# nbdkit-vram: --dump-plugin works without a driver and says what is missing
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# says WORDS DRIVER: with this driver vram_error contains WORDS.
says ()
{
  driver=$2
  vram_nbdkit "$VRAM_PLUGIN" --dump-plugin >"$tmp/dump"
  grep -x 'vram_num_devices=0' "$tmp/dump"
  grep -E "^vram_error=.*$1" "$tmp/dump"
  grep "^vram_quiet=" "$tmp/dump"
  ! grep "^vram_quiet=no" "$tmp/dump" || fail "boost=no is the default"
}

if ! /sbin/ldconfig -p | grep -F libcuda.so.1; then
  says "cannot load libcuda.so.1, .*cannot open shared object file" none
fi
says "libcuda.so.1 does not have the function cuMemcpyDtoHAsync_v2" broken
export STANDIN_CUDA_DEVICES=0
says "CUDA_ERROR_NO_DEVICE" full
export STANDIN_CUDA_DEVICES=1 \
  STANDIN_CUDA_INIT_FAIL=all:CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
says "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" full
unset STANDIN_CUDA_INIT_FAIL
export STANDIN_CUDA_FAIL=cuDeviceTotalMem:1+:CUDA_ERROR_UNKNOWN
says "cannot list the GPUs: .* \(CUDA_ERROR_UNKNOWN\)" full

# A GPU that does not answer is left out.
export STANDIN_CUDA_DEVICES=2 \
  STANDIN_CUDA_FAIL=cuDeviceTotalMem:1:CUDA_ERROR_UNKNOWN
vram_nbdkit "$VRAM_PLUGIN" --dump-plugin >"$tmp/dump" 2>"$tmp/errors"
grep -x 'vram_num_devices=1' "$tmp/dump"
grep -x 'vram_device_index=1' "$tmp/dump"
grep "warning: cannot query GPU 0, which is left out" "$tmp/errors"
