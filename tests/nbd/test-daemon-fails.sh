#!/usr/bin/env bash
# nbdkit-vram: nbdkit in the background, or with --run, ends with an error when
# the server cannot start
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# fails_in_background WORDS PARAMETER...: nbdkit waits for the server, prints
# WORDS, and leaves no socket.
fails_in_background ()
{
  local words=$1 status=0
  shift
  launch_daemon resident=no "$@" || status=$?
  [ "$status" -eq 1 ] || fail "nbdkit's exit status is $status, not 1"
  expect_log_times 1 "^nbdkit: $PLUGIN_NAME: error: $words"
  [ ! -e "$sock" ] || fail "the socket is still there"
  wait_for "$patience" ended "$(cat "$tmp/pid")"
  clean_report
}

fails_in_background "size=100 GiB is more than the 8 GiB of VRAM" size=100G
fails_in_background "device=7: no such GPU" size=16M device=7
export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_USED=1G
fails_in_background "VRAM is short" size=16M
STANDIN_CUDA_USED=0 start_daemon size=16M resident=no
stop_daemon

# fails_with_run PARAMETER...: nbdkit ends although its command would go on.
fails_with_run ()
{
  local status=0 launch
  launcher
  rm -f "$tmp"/report.*
  timeout --kill-after=5 "$patience" "${launch[@]}" --unix "$sock" \
    "$VRAM_PLUGIN" resident=no "$@" \
    --run "nbdinfo --size '$uri'; sleep 1000" >"$log" 2>&1 </dev/null ||
    status=$?
  case $status in
    0|124|137) fail "the exit status is $status" ;;
  esac
  [ ! -e "$sock" ] || fail "the socket is still there"
}

# In the foreground no socket is left either.
refuses_to_start "VRAM is short" size=16M resident=no
[ ! -e "$sock" ] || fail "the socket is still there"

fails_with_run size=16M
expect_log "error: VRAM is short"
unset STANDIN_CUDA_MEMORY STANDIN_CUDA_USED

# With a server, the exit status is the command's.
launcher
status=0
timeout --kill-after=5 "$patience" "${launch[@]}" --unix "$sock" \
  "$VRAM_PLUGIN" size=16M resident=no \
  --run "nbdinfo --size '$uri'; exit 3" >"$log" 2>&1 </dev/null || status=$?
[ "$status" -eq 3 ]
expect_log "^16777216$"
rm -f "$sock"

# nbdkit does not wait for ever for a driver that does not answer.
export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang
echo cuInit >"$tmp/hang"
status=0
launch_daemon size=16M resident=no gpu-timeout=1 || status=$?
[ "$status" -eq 1 ]
expect_log "error: the driver has not answered for 1000 ms"
[ ! -e "$sock" ] || fail "the socket is still there"
fails_with_run size=16M gpu-timeout=1
expect_log "error: the driver has not answered for 1000 ms"

# A server that is killed cannot report its error.
rm "$tmp/pid" "$tmp/trace"
(
  status=0
  launch_daemon size=16M resident=no || status=$?
  echo "$status" >"$tmp/status"
) &
wait_for "$patience" test -s "$tmp/pid"
wait_for "$patience" grep -q . "$tmp/trace"
[ ! -e "$tmp/status" ] || fail "nbdkit does not wait for the server"
kill -KILL "$(cat "$tmp/pid")"
wait_for "$patience" test -s "$tmp/status"
[ "$(cat "$tmp/status")" -eq 1 ]
expect_log "the server ended before it was ready"
[ ! -e "$sock" ] || fail "the socket is still there"
