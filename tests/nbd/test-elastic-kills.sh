#!/usr/bin/env bash
# nbdkit-vram: servers with elastic=yes are killed at random times, and no
# acknowledged write is lost
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
kills=40
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || kills=5
launcher
mkdir "$tmp/shared"
export STANDIN_CUDA_SHARED=$tmp/shared STANDIN_CUDA_MEMORY=128M \
  STANDIN_CUDA_USED_FILE=$tmp/used
server=("${launch[@]}" --foreground --exit-with-parent --threads=16
  --unix="$sock" -D "$PLUGIN_NAME.random_path=1")
disk=(size=64M headroom=8M elastic=yes handover=yes)

python3 "$tests/nbd/elastic-kills.py" "$kills" "$tmp" "${server[@]}" \
  "$VRAM_PLUGIN" "${disk[@]}"
clean_report
rm -f "$tmp"/report.* "$tmp"/vulkan.*

# Slots move at random between VRAM and the spill file, if the folder is on a
# suitable disk.
python3 "$tests/nbd/elastic-kills.py" "$kills" "$tmp" "${server[@]}" \
  -D "$PLUGIN_NAME.restless=1" "$VRAM_PLUGIN" "${disk[@]}" spill="$tmp"
clean_report
