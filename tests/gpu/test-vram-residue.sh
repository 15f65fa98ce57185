#!/usr/bin/env bash
# nbdkit-vram: a server that has ended leaves nothing that was written to it in
# VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
# Elsewhere VRAM that was freed is gone for good; test-scrub.sh looks at it
# before.
[ -n "$VRAM_REAL_GPU" ] || skip "needs a real GPU"
residue=$VRAM_BUILD/tests/gpu/vram-residue
[ -x "$residue" ] || skip "vram-residue is not built"
marker=nbdkit-vram-mark

# serve ARGUMENT...: a gigabyte full of the marker, and a server that has
# ended.
serve ()
{
  start_vram size=1G min-size=1G "$@"
  nbdsh -u "$uri" -c '
block = b"'"$marker"'" * (2 << 16)
for at in range (0, 1 << 30, len (block)):
    h.pwrite (block, at)
'
  stop_vram
}

# What the driver itself leaves of VRAM that was not overwritten; drivers
# differ, so this is only told.
serve scrub=no
"$residue" "$marker" || [ $? -eq 1 ]

for way in window=no window=auto; do
  serve "$way"
  "$residue" "$marker"
done
