#!/usr/bin/env bash
# nbdkit-vram: a program that takes VRAM in steps gets it from an elastic disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
elastic=$top_srcdir/bench/elastic
[ -e "$elastic" ] || skip "bench/elastic is not here"
[ -x "$VRAM_BUILD/tests/gpu/competitor" ] || skip "competitor is not built"
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
launcher
NBDKIT="$tmp/nbdkit"
printf '#!/bin/sh\nexec %s "$@"\n' "${launch[*]}" >"$NBDKIT"
chmod +x "$NBDKIT"
export NBDKIT VRAM_PLUGIN PLUGIN_NAME
if [ -z "$VRAM_REAL_GPU" ]; then
  mkdir "$tmp/shared"
  export STANDIN_CUDA_SHARED=$tmp/shared STANDIN_CUDA_MEMORY=640M
  export LD_LIBRARY_PATH="$standin/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  "$elastic" --disk=0 --size=256M --headroom=64M --take=256M --step=32M \
    --data=128M --spill="$tmp" --only=held,first,trimmed,data >"$tmp/out"
else
  "$elastic" --size=4G --only=held,first,trimmed >"$tmp/out"
fi
cat "$tmp/out"
grep -E '^trimmed: allocated=[0-9]+ refusals=' "$tmp/out"
