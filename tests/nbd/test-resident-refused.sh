#!/usr/bin/env bash
# nbdkit-vram: with resident=auto each refused protection is one warning
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody
requires_full_speed
requires_program prlimit

# A user without capabilities, under a limit that is too low.
chmod 777 "$tmp"
run_as=(prlimit --memlock=65536:65536 "${as_nobody[@]}")
start_vram size=16M
expect_log_times 1 \
  "warning: memory reclaim may wait .*: PR_SET_IO_FLUSHER: .*CAP_SYS_RESOURCE"
expect_log_times 1 \
  "warning: this process may be killed .*: oom_score_adj .*CAP_SYS_RESOURCE"
expect_log_times 1 \
  "warning: this process may be swapped out .*: mlockall: .*; .*CAP_IPC_LOCK"
# The suite may run under nice, which gives another warning.
warnings=$(($(nice) > 0 ? 4 : 3))
[ "$(grep -c warning "$log")" -eq "$warnings" ]
nbdinfo "$uri"
[ "$(grep -c warning "$log")" -eq "$warnings" ]
stop_vram

# resident=no asks for nothing.
start_vram size=16M resident=no
expect_no_log warning
[ "$(locked_kib "$server")" -eq 0 ]
stop_vram
