#!/usr/bin/env bash
# nbdkit-vram: the log filter sees requests as clients sent them
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_filter log
requires_nbdsh

start_vram "$(filter log)" size=16M logfile="$tmp/requests"
nbdsh -u "$uri" -c '
h.pwrite (b"l" * 10000, 5000, nbd.CMD_FLAG_FUA)
h.pread (77, 99999)
h.trim (4096, 8192)
h.zero (4096, 16384)
h.flush ()
'
stop_vram
grep -E 'Write id=.* offset=0x1388 count=0x2710 fua=1' "$tmp/requests"
grep -E 'Read id=.* offset=0x1869f count=0x4d' "$tmp/requests"
grep -E 'Trim id=.* offset=0x2000 count=0x1000' "$tmp/requests"
grep -E 'Zero id=.* offset=0x4000 count=0x1000' "$tmp/requests"
grep -E 'Flush id=' "$tmp/requests"
