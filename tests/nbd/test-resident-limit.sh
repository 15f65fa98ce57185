#!/usr/bin/env bash
# nbdkit-vram: a server without capabilities locks its memory if its limit is
# high enough
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody
requires_full_speed
requires prlimit --memlock=unlimited:unlimited true

chmod 777 "$tmp"
run_as=(prlimit --memlock=unlimited:unlimited "${as_nobody[@]}")
start_vram size=16M resident=yes
[ "$(locked_kib "$server")" -gt 0 ]
expect_no_log mlockall
stop_vram
