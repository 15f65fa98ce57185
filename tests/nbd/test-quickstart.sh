#!/usr/bin/env bash
# nbdkit-vram: quickstart serves what it is asked for, however little, and says which of several GPUs serves it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_full_speed
requires_program nbdkit
requires_program make
requires_program nbdcopy
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"

# A copy that finds a finished build beside itself.
mkdir -p "$tmp/tree/out/build/plugin/.libs"
cp "$top_srcdir/quickstart" "$tmp/tree"
printf '#!/bin/sh\n' >"$tmp/tree/configure"
chmod +x "$tmp/tree/configure"
(cd "$tmp/tree" && pwd) >"$tmp/tree/out/build/.from"
echo 'all:' >"$tmp/tree/out/build/Makefile"
ln -s "$VRAM_PLUGIN" "$tmp/tree/out/build/plugin/.libs"
if [ -z "$VRAM_REAL_GPU" ]; then
  export LD_LIBRARY_PATH=$standin/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} STANDIN_CUDA_DEVICES=2
fi

for size in 4M 32m 65536K 96M; do
  "$tmp/tree/quickstart" --no-install "$size" >"$log" 2>&1 || fail "quickstart $size"
  mib=$(($(numfmt --from=iec "${size^^}") >> 20))
  expect_log "^serving $mib MiB of video memory of .+, [0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0$"
  expect_log "^served   $mib MiB of video memory of .+, [0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0$"
  expect_log "^through  (the CPU's window and DMA|DMA alone: .+)$"
  expect_log '^compared all of them: the same$'
done
