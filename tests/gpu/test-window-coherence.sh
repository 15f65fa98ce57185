#!/usr/bin/env bash
# nbdkit-vram: mapping and DMA see the same content of VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

coherence=$VRAM_BUILD/tests/gpu/window-coherence
[ -x "$coherence" ] || skip "window-coherence is not built"

if [ -n "$VRAM_REAL_GPU" ]; then
  status=0
  "$coherence" -d 10 2>"$tmp/errors" || status=$?
  cat "$tmp/errors"
  [ "$status" -ne 77 ] || skip "$(tail -n 1 "$tmp/errors")"
  [ "$status" -eq 0 ]
  exit 0
fi

# The stand-in's mapping and DMA always agree, so this tests the program.
[ -e "$standin/.libs/libcuda.so.1" ] || skip "the stand-in driver is not built"
export LD_LIBRARY_PATH=$standin/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

"$coherence" -d 2 -p 3
"$coherence" -d 1 -p 2 -w portable
# Copies are slow, so that a copy that is not waited for comes too late.
STANDIN_CUDA_DELAY=300 "$coherence" -d 1 -p 2

# Without Vulkan the program is skipped.
status=0
STANDIN_VULKAN_NO_ICD=1 "$coherence" -d 1 || status=$?
[ "$status" -eq 77 ]
