#!/usr/bin/env bash
# nbdkit-vram: servers are killed at random instants under load, each next one
# takes over the disk, and no acknowledged write is lost
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
kills=50 kills_forced=10
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || kills=5 kills_forced=3
launcher
before=$(free_vram)
rm -f "$tmp"/report.* "$tmp"/vulkan.*
server=("${launch[@]}" --foreground --exit-with-parent --threads=16
  --unix="$sock")

# Three chunks, each copy by mapping or DMA.
python3 "$tests/nbd/adopt-kills.py" "$kills" 136 4 "$tmp" "${server[@]}" \
  "$VRAM_PLUGIN" size=136M handover=yes
clean_report
rm -f "$tmp"/report.* "$tmp"/vulkan.*

# Copies by a random path, and then by DMA alone, so slowly that most servers
# die during copies.
python3 "$tests/nbd/adopt-kills.py" "$kills_forced" 16 4 "$tmp" \
  "${server[@]}" -D "$PLUGIN_NAME.random_path=1" \
  "$VRAM_PLUGIN" size=16M handover=yes
export STANDIN_CUDA_DELAY=5000
python3 "$tests/nbd/adopt-kills.py" "$kills_forced" 16 4 "$tmp" \
  "${server[@]}" "$VRAM_PLUGIN" size=16M handover=yes window=no

# All VRAM is free again, except for what the driver keeps.
after=$(free_vram)
[ "$after" -ge $((before - (32 << 20))) ] ||
  fail "$before bytes of VRAM were free before, $after are free now"
