#!/usr/bin/env bash
# nbdkit-vram: a server with CAP_IPC_LOCK alone locks its memory
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody
requires_full_speed
requires_capabilities ipc_lock

chmod 777 "$tmp"
run_as=("${as_nobody[@]}" --inh-caps=+ipc_lock --ambient-caps=+ipc_lock)
start_vram size=16M resident=yes
[ "$(locked_kib "$server")" -gt 0 ]
expect_no_log mlockall
stop_vram
