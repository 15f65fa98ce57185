#!/usr/bin/env bash
# nbdkit-vram: warnings go where nbdkit's errors go, and say that they are
# warnings
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# What there is to warn about in each server: one of two GPUs is broken.
export STANDIN_CUDA_DEVICES=2 \
  STANDIN_CUDA_FAIL=cuDeviceTotalMem:1:CUDA_ERROR_UNKNOWN
warning="$PLUGIN_NAME: warning: cannot query GPU 0"

start_vram size=16M resident=no
expect_log_times 1 "^nbdkit: $warning"
expect_no_log "error:"
stop_vram

start_vram --log=stderr size=16M resident=no
expect_log_times 1 "^nbdkit: $warning"
stop_vram

# silent OPTION...
silent ()
{
  transport=(--unix="$sock" "$@")
  start_vram size=16M resident=no
  [ ! -s "$log" ] || fail "something was said with $*"
  stop_vram
  transport=()
}
silent --log=null
silent --log null

# The journal gets levels. launch_vram keeps the file.
touch "$log"
JOURNAL_STREAM=$(stat -c %d:%i "$log")
export JOURNAL_STREAM
start_vram size=16M resident=no
expect_log_times 1 "^<4>nbdkit: $warning"
stop_vram
refuses_to_start "^<3>nbdkit: $PLUGIN_NAME: error: size=9 GiB is more than" \
  size=9G resident=no
unset JOURNAL_STREAM

[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "syslog is not tried with a sanitizer or valgrind; the rest passed"
preload=$VRAM_BUILD/tests/preload/.libs/syslog.so
[ -e "$preload" ] ||
  skip "syslog is not tried, for $preload is not built; the rest passed"
export LD_PRELOAD=$preload VRAM_TEST_SYSLOG=$tmp/syslog
start_vram --log=syslog size=16M resident=no
unset LD_PRELOAD
[ ! -s "$log" ]
grep -E "^4 $warning" "$tmp/syslog"
stop_vram

rm "$tmp/syslog"
export LD_PRELOAD=$preload
start_daemon size=16M resident=no
unset LD_PRELOAD
# Who starts it sees it too.
expect_log_times 1 "^nbdkit: $warning"
grep -E "^4 $warning" "$tmp/syslog"
stop_daemon
