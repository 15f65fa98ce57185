#!/usr/bin/env bash
# nbdkit-vram: the VRAM of a dead server stays allocated until a server is told
# to end, which overwrites and frees it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
requires_standin
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
launcher
mkdir "$tmp/vram"
export STANDIN_CUDA_SHARED=$tmp/vram STANDIN_CUDA_MEMORY=200M
python3 "$tests/nbd/adopt-ends.py" "$tmp" "${launch[@]}" --foreground \
  --exit-with-parent --unix="$sock" \
  "$VRAM_PLUGIN" size=136M min-size=136M handover=yes

# Every server that ended by itself has scrubbed and freed its VRAM.
for report in "$tmp"/report.*; do
  [ "$(cat "$report")" = "dirty 0" ] ||
    fail "the driver reports at the end: $(cat "$report")"
done
