#!/usr/bin/env bash
# nbdkit-vram: the server writes no core dump, and its own user cannot read its
# memory
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody
requires_full_speed

chmod 777 "$tmp"
run_as=("${as_nobody[@]}")
start_vram size=16M
# In /proc the files of such a process belong to root.
[ "$(stat -c %u "/proc/$server/maps")" -eq 0 ]
! "${as_nobody[@]}" head -c 1 "/proc/$server/maps" ||
  fail "user 65534 can read the server's memory"
stop_vram
