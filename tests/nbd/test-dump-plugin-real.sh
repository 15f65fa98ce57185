#!/usr/bin/env bash
# nbdkit-vram: --dump-plugin lists the machine's own GPU
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

[ -n "$VRAM_REAL_GPU" ] || skip "for a machine with a GPU"

vram_nbdkit "$VRAM_PLUGIN" --dump-plugin >"$tmp/dump"
[ "$(sed -n 's/^vram_num_devices=//p' "$tmp/dump")" -ge 1 ]
grep -E '^vram_device_name=.+' "$tmp/dump"
grep -E '^vram_device_uuid=GPU-[-0-9a-f]{36}$' "$tmp/dump"
grep -E '^vram_device_pci=[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0$' "$tmp/dump"
grep -E '^vram_window=(yes|no)$' "$tmp/dump"
grep -E '^vram_driver_version=[0-9]+\.[0-9.]+$' "$tmp/dump"
total=$(sed -n 's/^vram_device_memory_total=//p' "$tmp/dump" | head -n 1)
free=$(sed -n 's/^vram_device_memory_free=//p' "$tmp/dump" | head -n 1)
[ "$free" -le "$total" ]
[ "$free" -gt 0 ]
