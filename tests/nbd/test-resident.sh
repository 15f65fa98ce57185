#!/usr/bin/env bash
# nbdkit-vram: every thread of the server is locked in memory, an I/O flusher,
# and exempt from the OOM killer
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_full_speed
requires_capabilities ipc_lock sys_resource

start_vram size=16M resident=required
[ "$(cat "/proc/$server/oom_score_adj")" -eq -1000 ]
[ "$(locked_kib "$server")" -gt 0 ]
# nbdkit has its worker threads while a client is connected.
VRAM_TEST_PID=$server nbdsh -u "$uri" -c '
import os
h.pwrite (b"r" * 65536, 0)
h.pread (65536, 0)
task = "/proc/" + os.environ["VRAM_TEST_PID"] + "/task/"
# PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE
flags = 0x00080000 | 0x00100000
threads = os.listdir (task)
assert len (threads) > 16, threads
for thread in threads:
    name, rest = open (task + thread + "/stat").read ().rsplit (")", 1)
    assert int (rest.split ()[6]) & flags == flags, name
'
expect_no_log "warning"
stop_vram
