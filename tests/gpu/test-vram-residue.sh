#!/usr/bin/env bash
# nbdkit-vram: after a server has ended, free VRAM does not hold its data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
# The stand-in's freed VRAM cannot be read. test-scrub.sh checks its content
# before that.
[ -n "$VRAM_REAL_GPU" ] || skip "needs a real GPU"
residue=$VRAM_BUILD/tests/gpu/vram-residue
[ -x "$residue" ] || skip "vram-residue is not built"
marker=nbdkit-vram-mark

# serve ARGUMENT...: fills a disk of 1 GiB with the marker, and ends its
# server.
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

# Without scrub. Some drivers clear freed VRAM and some do not, so the result
# is only printed.
serve scrub=no
"$residue" "$marker" || [ $? -eq 1 ]

for way in window=no window=auto; do
  serve "$way"
  "$residue" "$marker"
done
