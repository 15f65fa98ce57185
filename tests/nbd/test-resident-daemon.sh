#!/usr/bin/env bash
# nbdkit-vram: a server in the background is locked in memory
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_full_speed
requires_capabilities ipc_lock

start_daemon size=16M resident=auto
[ "$(locked_kib "$(cat "$tmp/pid")")" -gt 0 ]
stop_daemon

start_daemon size=16M resident=no
[ "$(locked_kib "$(cat "$tmp/pid")")" -eq 0 ]
stop_daemon
