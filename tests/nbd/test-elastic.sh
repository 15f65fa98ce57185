#!/usr/bin/env bash
# nbdkit-vram: with elastic=yes a disk holds VRAM for its data only, and gives
# the rest back
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
launcher
mkdir "$tmp/shared"
export STANDIN_CUDA_SHARED=$tmp/shared STANDIN_CUDA_MEMORY=128M \
  STANDIN_CUDA_USED_FILE=$tmp/used
before=$(free_vram)
rm -f "$tmp"/report.* "$tmp"/vulkan.*
server=("${launch[@]}" --foreground --exit-with-parent --threads=16
  --unix="$sock")

for window in yes no; do
  python3 "$tests/nbd/elastic-facts.py" "$tmp" "${server[@]}" \
    "$VRAM_PLUGIN" size=64M headroom=8M elastic=yes handover=yes \
    window=$window
  clean_report
  rm -f "$tmp"/report.* "$tmp"/vulkan.*
done
[ "$(free_vram)" -eq "$before" ]

export STANDIN_CUDA_USED_FILE=$tmp/none
refuses_to_start "limit= needs elastic=yes" size=16M limit=8M
# A file that would leave too little room on the disk is refused.
dump=$(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size=64M elastic=yes \
  spill="$tmp")
if [[ $dump == *vram_spill=yes* ]]; then
  most=$(df --output=avail -B1 "$tmp" | tail -n 1)
  vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size="$most" elastic=yes \
    spill="$tmp" | grep "^vram_spill_reason=$tmp: no room for .*can be used"
fi
[[ $(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size=64M elastic=yes \
  spill="$tmp/nowhere") == *vram_spill_reason=$tmp/nowhere:* ]]
rm -f "$tmp"/report.* "$tmp"/vulkan.*

refuses_to_start "spill= needs elastic=yes" size=16M spill="$tmp"

# An unsuitable folder is a warning.
start_vram size=64M elastic=yes spill=/dev/shm
expect_log "warning: no spill file: /dev/shm"
stop_vram
start_vram size=64M elastic=yes spill="$tmp/nowhere"
expect_log "warning: no spill file: $tmp/nowhere: No such file"
stop_vram

# If VRAM cannot be exported, it goes on as with elastic=no.
export STANDIN_CUDA_NO_EXPORT=1
start_vram size=16M elastic=yes
expect_log "cannot use elastic=yes: this driver cannot export VRAM"
[ "$(nbdinfo --size "$uri")" -eq $((16 << 20)) ]
stop_vram
