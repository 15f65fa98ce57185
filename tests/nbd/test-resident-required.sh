#!/usr/bin/env bash
# nbdkit-vram: resident=required does not start without every protection, nor
# resident=yes without locked memory
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody
requires_full_speed
requires_program prlimit

chmod 777 "$tmp"
run_as=("${as_nobody[@]}")
refuses_to_start \
  "error: memory reclaim may wait .*: PR_SET_IO_FLUSHER: .*CAP_SYS_RESOURCE" \
  size=16M resident=required
expect_no_log warning
# It ends before it allocates anything.
[ ! -e "$tmp/trace" ] || [ "$(calls cuMemCreate)" -eq 0 ]

run_as=(prlimit --memlock=65536:65536 "${as_nobody[@]}")
refuses_to_start "error: this process may be swapped out itself: mlockall: " \
  size=16M resident=yes
clean_report
