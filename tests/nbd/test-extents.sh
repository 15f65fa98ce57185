#!/usr/bin/env bash
# nbdkit-vram: nbdinfo --map shows what was written, and holes elsewhere
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
[ "$(map)" = "0 $((16 << 20)) hole" ]
nbdsh -u "$uri" -c '
h.pwrite (b"e" * 8192, 65536)
h.pwrite (b"e", 1 << 20)
h.pwrite (b"e", (16 << 20) - 1)
'
cat >"$tmp/want" <<'EOF'
0 65536 hole
65536 8192 data
73728 974848 hole
1048576 4096 data
1052672 15720448 hole
16773120 4096 data
EOF
map | diff "$tmp/want" -

nbdsh -u "$uri" -c '
h.trim (4096, 65536)
h.zero (100, 1 << 20)
h.zero (4096, (16 << 20) - 4096)
'
cat >"$tmp/want" <<'EOF'
0 69632 hole
69632 4096 data
73728 974848 hole
1048576 4096 data
1052672 15724544 hole
EOF
map | diff "$tmp/want" -
stop_vram
