#!/usr/bin/env bash
# nbdkit-vram: the export's description names the GPU and the path of copies
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh --opt-mode -u "$uri" -c '
h.set_full_info (True)
h.opt_info ()
print (h.get_export_description ())
h.opt_abort ()
' >"$tmp/description"
pci='[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0'
grep -E "^VRAM of .+, $pci, copies by (window|DMA alone: .+)\$" \
  "$tmp/description"
if [ -z "$VRAM_REAL_GPU" ]; then
  grep -Fx 'VRAM of Stand-in GPU 0, 0000:01:00.0, copies by window' \
    "$tmp/description"
fi
stop_vram
