#!/usr/bin/env bash
# nbdkit-vram: vram-swap wait-server ends a server that does not come up in time, unless it has an earlier one's disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
swap_launcher "$tmp/conf" "size = 16M" "min-size = 16M" "gpu-timeout = 1h" "start-timeout = 2s"
# The GPU answers nothing, so that the server hangs in its start.
export STANDIN_CUDA_HANG_FILE=$tmp/hang

# serve [VARIABLE=VALUE]: what the unit's main process is.
serve ()
{
  rm -f "$sock"
  : >"$tmp/hang"
  env "$@" "${launch[@]}" serve >"$log" 2>&1 &
  server=$!
  cleanup_fn kill_server "$server"
  wait_for "$patience" test -S "$sock"
}

# fails STATUS COMMAND...
fails ()
{
  local status=0 wanted=$1
  shift
  timeout "$patience" "$@" >"$tmp/words" 2>&1 || status=$?
  cat "$tmp/words"
  [ "$status" -eq "$wanted" ] || fail "the exit status is $status, not $wanted"
}

# Nobody has the socket's file open any more: neither serve nor the server is left.
nobody_is_left ()
{
  ended "$server" || return
  local fd
  for fd in /proc/[0-9]*/cwd; do
    ! tr '\0' ' ' 2>/dev/null <"${fd%/cwd}/cmdline" | grep -qF -e "--unix $sock" || return
  done
}

serve
fails 1 "$swap" --config "$tmp/conf" wait-server "$server"
grep "did not answer within 2 s" "$tmp/words"
wait_for "$patience" nobody_is_left

# It is to stop while it starts: what systemd then sends is the unit's KillSignal.
sed -i 's/^start-timeout = .*/start-timeout = 1h/' "$tmp/conf"
serve
"$swap" --config "$tmp/conf" wait-server "$server" &
waiter=$!
# Before it catches the signal, it would not notice it.
catches ()
{
  (((0x$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$2/status") >> ($1 - 1)) & 1))
}
wait_for "$patience" catches "$(kill -l CONT)" "$waiter"
kill -CONT "$waiter"
wait "$waiter" && fail "wait-server has not failed"
wait_for "$patience" nobody_is_left

# A disk that may be under swap is not given up, however long it takes.
sed -i 's/^start-timeout = .*/start-timeout = 2s/' "$tmp/conf"
serve LISTEN_FDS=3 LISTEN_PID=1
fails 1 "$swap" --config "$tmp/conf" wait-server "$server"
grep "left alone" "$tmp/words"
ended "$server" && fail "it was ended"
rm "$tmp/hang"
wait_until_served
end_server TERM
