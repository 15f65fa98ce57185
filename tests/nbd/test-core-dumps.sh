#!/usr/bin/env bash
# nbdkit-vram: the server's memory cannot be dumped or looked into by its own
# user
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody
requires_full_speed

chmod 777 "$tmp"
run_as=("${as_nobody[@]}")
start_vram size=16M
# The kernel gives such a process's files in /proc to root.
[ "$(stat -c %u "/proc/$server/maps")" -eq 0 ]
! "${as_nobody[@]}" head -c 1 "/proc/$server/maps" ||
  fail "user 65534 can look into the server"
stop_vram
