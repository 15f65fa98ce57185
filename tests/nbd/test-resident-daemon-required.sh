#!/usr/bin/env bash
# nbdkit-vram: a server in the background has every protection of
# resident=required
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_full_speed
requires_capabilities ipc_lock sys_resource

start_daemon size=16M resident=required
pid=$(cat "$tmp/pid")
[ "$(cat "/proc/$pid/oom_score_adj")" -eq -1000 ]
[ "$(locked_kib "$pid")" -gt 0 ]
VRAM_TEST_PID=$pid nbdsh -u "$uri" -c '
import os
task = "/proc/" + os.environ["VRAM_TEST_PID"] + "/task/"
flags = 0x00080000 | 0x00100000
h.pread (4096, 0)
for thread in os.listdir (task):
    name, rest = open (task + thread + "/stat").read ().rsplit (")", 1)
    assert int (rest.split ()[6]) & flags == flags, name
'
stop_daemon
