#!/usr/bin/env bash
# nbdkit-vram: the window and the lanes agree on what VRAM holds
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

# The stand-in's ways agree by themselves: there, the trial itself is tried.
[ -e "$standin/.libs/libcuda.so.1" ] || skip "the stand-in driver is not built"
export LD_LIBRARY_PATH=$standin/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

"$coherence" -d 2 -p 3
"$coherence" -d 1 -p 2 -w portable
# Copies that take their time, so that one that is not waited for is late.
STANDIN_CUDA_DELAY=300 "$coherence" -d 1 -p 2

# Without Vulkan there is nothing to try.
status=0
STANDIN_VULKAN_NO_ICD=1 "$coherence" -d 1 || status=$?
[ "$status" -eq 77 ]
