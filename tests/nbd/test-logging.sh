#!/usr/bin/env bash
# nbdkit-vram: warnings go to the same place as nbdkit's errors, and are marked
# as warnings
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# Each server warns about one of two GPUs, which does not answer.
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

# silent OPTION...: a server with these options logs nothing.
silent ()
{
  transport=(--unix="$sock" "$@")
  start_vram size=16M resident=no
  [ ! -s "$log" ] || fail "the log is not empty with $*"
  stop_vram
  transport=()
}
silent --log=null
silent --log null

# The journal gets levels. launch_vram does not replace the file.
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
  skip "syslog: not with a sanitizer or valgrind; the rest passed"
preload=$VRAM_BUILD/tests/preload/.libs/syslog.so
[ -e "$preload" ] ||
  skip "syslog: $preload is not built; the rest passed"
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
# The terminal of a daemon gets the warning, too.
expect_log_times 1 "^nbdkit: $warning"
grep -E "^4 $warning" "$tmp/syslog"
stop_daemon
