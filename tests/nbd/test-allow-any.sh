#!/usr/bin/env bash
# nbdkit-vram: with allow=any every user that can open the socket is served
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody

chmod 711 "$tmp"
start_vram size=16M allow=any
chmod 777 "$sock"
"${as_nobody[@]}" timeout "$patience" nbdinfo --size "$uri"
expect_no_log "refused"
stop_vram
